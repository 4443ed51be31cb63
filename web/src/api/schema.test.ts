import openapiTS, { astToString, COMMENT_HEADER, type OpenAPI3 } from "openapi-typescript";
import { expect, it } from "vitest";
import contract from "../../openapi.json?raw";
import kept from "./schema.d.ts?raw";

// `tests/unit/api/test_contract_file.py` sees to it that openapi.json is what the application says of itself.
it("has the types of the contract: run `python hatch_build.py client` when this fails", async () => {
  const made = COMMENT_HEADER + astToString(await openapiTS(JSON.parse(contract) as OpenAPI3));
  expect(kept === made).toBe(true);
}, 30_000);
