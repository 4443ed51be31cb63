import { expect, it } from "vitest";
import { patiently } from "./patiently";

it("asks again while there is no answer, and gives up in the end", async () => {
  let asked = 0;
  const third = (): Promise<string> => ((asked += 1) < 3 ? Promise.reject(new Error("away")) : Promise.resolve("here"));
  await expect(patiently(third, [1, 1, 1])).resolves.toBe("here");
  expect(asked).toBe(3);
  await expect(patiently(() => Promise.reject(new Error("gone")), [1, 1])).rejects.toThrow("gone");
});
