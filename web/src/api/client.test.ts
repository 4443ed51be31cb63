import { afterEach, describe, expect, it, vi } from "vitest";
import { addressOf, api, onSessionOver, problemText, RefusedError, UnreachedError } from "./client";
import { isWorthAnotherTry } from "./queries";

function answering(...answers: [number, unknown][]): ReturnType<typeof vi.fn> {
  const fetched = vi.fn(async () => {
    const [status, body] = answers.length > 1 ? (answers.shift() as [number, unknown]) : (answers[0] as [number, unknown]);
    return new Response(body === null ? "" : JSON.stringify(body), { status });
  });
  vi.stubGlobal("document", { baseURI: "http://plant.example/base/#/alarms?x=1" });
  vi.stubGlobal("fetch", fetched);
  return fetched;
}

afterEach(() => {
  onSessionOver(null);
  vi.unstubAllGlobals();
});

describe("addressOf", () => {
  it("fills in the path and the query, below whatever address the page has", () => {
    vi.stubGlobal("document", { baseURI: "http://plant.example/base/?y=2#/alarms?x=1" });
    expect(addressOf("/api/groups/{group_id}", { path: { group_id: "a/b c" } }).href).toBe("http://plant.example/base/api/groups/a%2Fb%20c");
    expect(addressOf("/api/groups", { query: { text: "x y", limit: 5, parent: undefined, level: null } }).href).toBe("http://plant.example/base/api/groups?text=x+y&limit=5");
  });
});

describe("api", () => {
  it("sends what is to change as JSON, and says why it was refused", async () => {
    const fetched = answering([200, { number: 7 }]);
    await api.post("/api/alarms/{number}/ack", { path: { number: 7 }, body: { note: "seen" } });
    const [url, options] = fetched.mock.calls[0] as [URL, RequestInit];
    expect([url.href, options.method, options.body]).toEqual(["http://plant.example/base/api/alarms/7/ack", "POST", '{"note":"seen"}']);
    answering([422, { detail: "note: too long", field: "note", fix: "say less" }]);
    const refused = await api.post("/api/alarms/{number}/ack", { path: { number: 7 }, body: { note: "" } }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(RefusedError);
    expect(refused).toMatchObject({ message: "note: too long", status: 422, field: "note", fix: "say less" });
    answering([502, null]);
    await expect(api.get("/api/resources", {})).rejects.toThrow("502");
    expect(problemText([])).toBeNull();
  });

  it("asks once more after somebody has signed in again, and not for ever", async () => {
    const fetched = answering([401, { detail: "sign in" }], [200, []]);
    onSessionOver(() => Promise.resolve(true));
    expect(await api.get("/api/resources", {})).toEqual([]);
    expect(fetched).toHaveBeenCalledTimes(2);
    answering([401, { detail: "sign in" }]);
    await expect(api.get("/api/resources", {})).rejects.toThrow("sign in");
  });

  it("tells a plant that is away from one that refuses", async () => {
    answering([200, null]);
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("failed to fetch")));
    const away = await api.get("/api/resources", {}).catch((error: unknown) => error);
    expect(away).toBeInstanceOf(UnreachedError);
    expect([isWorthAnotherTry(0, away), isWorthAnotherTry(2, away)]).toEqual([true, false]);
    expect([isWorthAnotherTry(0, new RefusedError("no", 403)), isWorthAnotherTry(0, new RefusedError("later", 503))]).toEqual([false, true]);
  });
});
