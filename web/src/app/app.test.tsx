// @vitest-environment jsdom
import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import type { ReactElement } from "react";
import { describe, expect, it, vi } from "vitest";
import { draw, faultsOf, liveNow } from "../testing/render";
import { alarm, CALM, sessionOf } from "../testing/states";
import { AlarmBar, alarmLine } from "./AlarmBar";
import { isTyping } from "./keys";
import { links } from "./links";
import { parseSearch, searchText } from "./nav";
import { NAVIGATION, SCREENS } from "./screens";
import { mustSignIn } from "./session";
import { isCurrent } from "./Shell";
import { SignInForm } from "./SignIn";
import { UserMenu } from "./UserMenu";

describe("screens", () => {
  it("register themselves, each address and key once", () => {
    expect(SCREENS.some((one) => one.path === "/")).toBe(true);
    expect(new Set(SCREENS.map((one) => one.path)).size).toBe(SCREENS.length);
    expect(new Set(NAVIGATION.map((one) => one.nav?.key)).size).toBe(NAVIGATION.length);
    expect(new Set(NAVIGATION.map((one) => one.nav?.order)).size).toBe(NAVIGATION.length);
  });

  it("knows to which of them an address belongs", () => {
    expect(isCurrent("/", { path: "/" })).toBe(true);
    expect(isCurrent("/alarms", { path: "/" })).toBe(false);
    expect(isCurrent("/alarms/7", { path: "/alarms" })).toBe(true);
    expect(isCurrent("/alarmist", { path: "/alarms" })).toBe(false);
    expect(isCurrent("/market/bess", { path: "/market/$resourceId" })).toBe(true);
  });
});

describe("addresses", () => {
  it("keep what a name has of slashes and spaces, and text as text", () => {
    expect(links.node("a/b c")).toBe("/node/a%2Fb%20c");
    expect(links.market("bess", { tab: "bids", day: undefined })).toBe("/market/bess?tab=bids");
    expect(parseSearch("?day=2021-02-10&n=07")).toEqual({ day: "2021-02-10", n: "07" });
    expect(searchText({ day: "2021-02-10", tab: "", n: undefined })).toBe("?day=2021-02-10");
    expect(searchText({})).toBe("");
  });
});

describe("AlarmBar", () => {
  const standing = [
    alarm({ number: 1, severity: "warning", raised_ms: 0 }),
    alarm({ number: 2, severity: "critical", raised_ms: 20, name: "Feeder 7" }),
    alarm({ number: 3, severity: "critical", raised_ms: 10, acknowledged_ms: 15 }),
  ];

  it("names the worst that nobody has taken note of, and counts those beyond the list", () => {
    const line = alarmLine({ active_count: 103, active: standing });
    expect(line.worst?.number).toBe(2);
    expect(line.more).toBe(100);
    expect(line.counts).toEqual([
      { severity: "critical", count: 2 },
      { severity: "warning", count: 1 },
    ]);
  });

  it("counts none that is put aside, and says how many are", () => {
    const line = alarmLine({ active_count: 103, active: standing }, { standing: { critical: 1, warning: 90 }, aside_count: 12, aside: [2] });
    expect([line.worst?.number, line.more, line.aside]).toEqual([1, 0, 12]);
    expect(line.counts).toEqual([
      { severity: "critical", count: 1 },
      { severity: "warning", count: 90 },
    ]);
  });

  it("is calm, loud, and honest about an old picture", async () => {
    const { container } = draw(<AlarmBar />, { live: { state: CALM } });
    expect(screen.getByText("No alarm stands")).toBeTruthy();
    liveNow({ state: { ...CALM, now_ms: 60_020, alarms: { active_count: 3, active: standing } } });
    expect(screen.getByTestId("alarm-worst").textContent).toContain("Communication lost, Feeder 7, for 60 s");
    expect(screen.getByTestId("alarm-worst").getAttribute("href")).toBe("#/alarms/2");
    expect(screen.getByTestId("alarm-bar").getAttribute("data-tone")).toBe("bad");
    expect(await faultsOf(container)).toEqual([]);
    liveNow({ state: CALM, link: "reconnecting" });
    expect(container.textContent).toContain("Connection lost, trying again");
    liveNow({ state: CALM, slow: true });
    expect(container.textContent).toContain("Your connection is slow");
  });
});

describe("signing in", () => {
  it("is asked for where people sign in and nobody has", () => {
    expect(mustSignIn(sessionOf([], { mode: null, sign_in: true }))).toBe(true);
    expect(mustSignIn(sessionOf([], { mode: "open", sign_in: false }))).toBe(false);
  });

  it("sends name and password, and says why it was refused without keeping the password", async () => {
    const signIn = vi.fn(() => Promise.reject(new Error("there is no such name and password")));
    const { container } = draw(<SignInForm onSignIn={signIn} />);
    await userEvent.type(screen.getByLabelText("Name"), "ada");
    await userEvent.type(screen.getByLabelText("Password"), "secret words{Enter}");
    expect(signIn).toHaveBeenCalledWith("ada", "secret words");
    expect(screen.getByRole("alert").textContent).toBe("there is no such name and password");
    expect(screen.getByLabelText<HTMLInputElement>("Password").value).toBe("");
    expect(await faultsOf(container)).toEqual([]);
  });

  it("has a menu of who reads", async () => {
    const keys = vi.fn();
    const { container } = draw(<UserMenu onKeys={keys} />);
    await userEvent.click(screen.getByTestId("user-menu"));
    await userEvent.click(screen.getByLabelText("dark"));
    expect(document.documentElement.dataset["theme"]).toBe("dark");
    expect(await faultsOf(container)).toEqual([]);
    await userEvent.click(screen.getByLabelText("as the system says"));
    await userEvent.click(screen.getByRole("button", { name: "Keys" }));
    expect(keys).toHaveBeenCalledOnce();
    expect(screen.queryByRole("radio")).toBeNull();
  });
});

describe("keys", () => {
  it("leave fields and dialogs alone", () => {
    const fields = (): ReactElement => (
      <>
        <input aria-label="field" />
        <dialog open>
          <button type="button">inside</button>
        </dialog>
        <button type="button">outside</button>
      </>
    );
    draw(fields());
    expect([screen.getByLabelText("field"), screen.getByText("inside"), screen.getByText("outside")].map(isTyping)).toEqual([true, true, false]);
  });
});
