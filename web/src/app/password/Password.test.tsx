// @vitest-environment jsdom
import { fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { RefusedError } from "../../api/client";
import { Home } from "../../home/Home";
import { showView } from "../../live/store";
import { draw, faultsOf } from "../../testing/render";
import { sessionOf } from "../../testing/states";
import { SessionProvider } from "../session";
import { UserMenu } from "../UserMenu";
import { faultsIn, faultsOfRefusal } from "./check";
import { words } from "./strings";

const OLD = "four plain words here";
const NEW = "four other words here";

interface Asked {
  readonly what: string;
  readonly body: unknown;
}

/** A plant with one password; who asks is signed in until `ended`. */
function plant(): { asked: Asked[]; say: (status: number, body: unknown) => void } {
  const asked: Asked[] = [];
  let next: [number, unknown] | null = null;
  vi.stubGlobal("fetch", (url: URL, options: RequestInit) => {
    const what = `${options.method ?? "GET"} ${url.pathname}`;
    asked.push({ what, body: typeof options.body === "string" ? JSON.parse(options.body) : null });
    const [status, body] = what === "POST /api/session/password" && next !== null ? next : [200, sessionOf(["see"], { until_ms: 3_600_000 })];
    return Promise.resolve(new Response(JSON.stringify(body), { status }));
  });
  return { asked, say: (status, body) => (next = [status, body]) };
}

function fill(old: string, fresh: string, again: string): void {
  fireEvent.change(screen.getByLabelText(words.old), { target: { value: old } });
  fireEvent.change(screen.getByLabelText(words.next), { target: { value: fresh } });
  fireEvent.change(screen.getByLabelText(words.again), { target: { value: again } });
  fireEvent.submit(screen.getByTestId("password-form"));
}

async function open(): Promise<HTMLElement> {
  showView({ link: "live" });
  const { container } = render(
    <SessionProvider>
      <UserMenu onKeys={() => undefined} />
    </SessionProvider>,
  );
  fireEvent.click(await screen.findByTestId("user-menu"));
  fireEvent.click(screen.getByRole("button", { name: words.act }));
  await screen.findByTestId("password-form");
  return container;
}

describe("a new password for oneself", () => {
  afterEach(() => vi.unstubAllGlobals());

  it("is looked at before it is sent, field by field", () => {
    expect(faultsIn({ old: "", next: "short", again: "" })).toEqual({ old: words.faults.noOld, next: words.faults.short(5) });
    expect(faultsIn({ old: OLD, next: OLD, again: OLD })).toEqual({ next: words.faults.same });
    expect(faultsIn({ old: OLD, next: NEW, again: "" })).toEqual({ again: words.faults.unlike });
    expect(faultsIn({ old: OLD, next: "x".repeat(1_001), again: "" })).toEqual({ next: words.faults.long });
    // eleven signs that a browser counts as twenty-two
    expect(faultsIn({ old: OLD, next: "🔋".repeat(11), again: "" }).next).toBe(words.faults.short(11));
    expect(faultsIn({ old: OLD, next: NEW, again: NEW })).toEqual({});
  });

  it("says of a refusal where it belongs, and that nothing was changed", () => {
    expect(faultsOfRefusal(new RefusedError("new: too easy", 422, "new", "give another"))).toEqual({ next: "give another" });
    expect(faultsOfRefusal(new RefusedError("too many", 429))).toEqual({ all: words.faults.tooMany });
    expect(faultsOfRefusal(new RefusedError("locked", 503)).all).toBe("The password is as it was: locked");
  });

  it("says the rule and who is signed out, and sends nothing that breaks the rule", async () => {
    const { asked } = plant();
    const container = await open();
    expect(screen.getByText(words.before)).toBeTruthy();
    expect(document.getElementById(screen.getByLabelText(words.next).getAttribute("aria-describedby") ?? "")?.textContent).toBe(words.rule);
    expect(document.activeElement).toBe(screen.getByLabelText(words.old));
    fill(OLD, "short", "short");
    const field = screen.getByLabelText(words.next);
    expect(screen.getByRole("alert").textContent).toBe(words.faults.short(5));
    expect(document.activeElement).toBe(field);
    expect(field.getAttribute("aria-describedby")).toContain(screen.getByRole("alert").id);
    expect(asked.some((one) => one.what.includes("password"))).toBe(false);
    expect(await faultsOf(container)).toEqual([]);
  });

  it("says at its field that the old one is wrong, and keeps what was typed of the new one", async () => {
    const { asked, say } = plant();
    await open();
    say(403, { detail: "the old password is wrong", field: "old" });
    fill("not the old one", NEW, NEW);
    expect((await screen.findByRole("alert")).textContent).toBe(words.faults.wrongOld);
    const old = screen.getByLabelText<HTMLInputElement>(words.old);
    await waitFor(() => expect(document.activeElement).toBe(old));
    expect(old.value).toBe("");
    expect(screen.getByLabelText<HTMLInputElement>(words.next).value).toBe(NEW);
    expect(asked.at(-1)).toEqual({ what: "POST /api/session/password", body: { old: "not the old one", new: NEW } });
  });

  it("says that it is changed and what became of the other sessions, and goes back to the menu", async () => {
    plant();
    const container = await open();
    fill(OLD, NEW, NEW);
    expect((await screen.findByRole("status")).textContent).toContain(words.after);
    expect(await faultsOf(container)).toEqual([]);
    expect(document.activeElement?.textContent).toBe(words.close);
    fireEvent.click(screen.getByText(words.close));
    expect(screen.queryByRole("dialog")).toBeNull();
    expect(document.activeElement).toBe(screen.getByTestId("user-menu"));
    expect(container.textContent).not.toContain(NEW);
  });

  it("is on the homeowner's page too", async () => {
    plant();
    const { container } = draw(<Home asked={null} />, { rights: ["home"] });
    fireEvent.click(screen.getByRole("button", { name: words.act }));
    await screen.findByTestId("password-form");
    expect(screen.getByLabelText(words.old).getAttribute("autocomplete")).toBe("current-password");
    expect(await faultsOf(container)).toEqual([]);
  });
});
