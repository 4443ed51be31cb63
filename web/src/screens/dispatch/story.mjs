/** Dispatch told twice: from a feeder whose coverage fell to an order that is aborted; and the same flow with the keyboard alone. */

/** The feeder of the most homes, and what it can be counted on for. */
async function feederOf(api) {
  const { groups } = await api("GET", "/api/groups?hierarchy=grid&level=3&order=sites&limit=1");
  return groups[0];
}

/** What lies beneath the bar at the top has no contrast that could be told, and a picture begins at the top. */
async function top(page) {
  await page.evaluate(() => window.scrollTo(0, 0));
}

/** Waits until the order under way is measured by the feed, and its chart is drawn. */
async function watched(page) {
  await page.locator('[data-testid="order-now"]:is([data-state="ready"], [data-state="stale"])').waitFor();
  await page.getByTestId("order-measured").waitFor();
  await page.locator('[data-testid="order-track"][data-state="ready"]').waitFor();
  await page.getByTestId("order-feeders").getByRole("link").first().waitFor();
}

const operator = {
  name: "dispatch",
  async run({ page, open, api, plant, until, axe, picture }) {
    const feeder = await feederOf(api);
    await plant("silence", feeder.group_id, Math.ceil(feeder.sites * 0.6));
    await open("/dispatch");
    // the alarm bar, on every screen, leads to the groups of alarms, these to the feeder
    await page.getByTestId("alarm-worst").getByText(feeder.name).waitFor();
    await page.getByTestId("alarm-bar").getByRole("link", { name: /critical/ }).click();
    const cause = page.locator("[data-cause]", { hasText: feeder.name });
    await cause.click();
    await page.getByRole("region", { name: /^Group: / }).waitFor();
    await picture("dispatch-1-alarm");
    await page.getByRole("region", { name: /^Group: / }).getByRole("link", { name: new RegExp(feeder.name) }).first().click();
    await page.getByTestId("node-coverage").waitFor();
    await until("the feeder's coverage is told to have fallen", () => Number.parseFloat(document.querySelector('[data-testid="node-coverage"]')?.textContent ?? "100") < 80);
    await picture("dispatch-2-feeder");
    // which of its sites are silent, and back to act with those that are not
    await page.getByRole("link", { name: "Show its sites" }).click();
    await page.getByTestId("sites-table").getByText(/^(stale|unknown)$/).first().waitFor();
    await picture("dispatch-3-silent");
    await page.goBack();
    await page.getByRole("link", { name: "Dispatch this group" }).click();

    await page.getByTestId("group-found").getByText(feeder.name).waitFor();
    await page.getByLabel(/^Power of all together/).fill("12");
    await page.getByLabel("Reason, for the record").fill("feeder is loaded");
    await page.getByTestId("preview-act").click();
    await page.getByTestId("preview-expected").waitFor();
    await page.getByTestId("preview-out").getByText(/silent/).first().waitFor();
    await top(page);
    await axe("dispatch, preview");
    await picture("dispatch-preview");
    await page.getByTestId("preview-out").getByRole("button", { name: /silent/ }).click();
    await page.getByTestId("preview-sites").getByRole("link").first().waitFor();
    await picture("dispatch-4-who");
    await page.keyboard.press("Escape");
    await page.getByTestId("launch").click();
    await page.getByRole("dialog", { name: "Launch this?" }).getByRole("button", { name: "Launch" }).click();

    await page.waitForURL(/#\/dispatch\/[^/]+$/);
    await watched(page);
    await until("some answer", () => /discharging/.test(document.querySelector('[data-testid="order-measured"]')?.textContent ?? ""));
    await top(page);
    await axe("dispatch, order");
    await picture("dispatch-order");
    await page.getByRole("button", { name: /^Abort: / }).click();
    const question = page.getByRole("dialog", { name: "Abort this order?" });
    await question.getByLabel("Reason").fill("the feeder is to be repaired first");
    await picture("dispatch-5-abort");
    await question.getByRole("button", { name: "Abort the order" }).click();
    await page.getByTestId("order-audit").getByText("the feeder is to be repaired first").waitFor();
    await page.getByTestId("order").getByText("aborted", { exact: true }).waitFor();
    await picture("dispatch-6-aborted");
  },
};

/** Presses Tab until what has the focus fits; says what it wanted when it does not come. */
async function tabTo(page, what, fits, key = "Tab", most = 90) {
  for (let i = 0; i < most; i += 1) {
    await page.keyboard.press(key);
    const said = await page.evaluate(() => {
      const one = document.activeElement;
      return { text: `${one?.getAttribute("aria-label") ?? ""} ${one?.textContent ?? ""}`.trim(), label: one?.labels?.[0]?.textContent ?? "", role: one?.getAttribute("role") ?? one?.tagName ?? "", name: one?.getAttribute("name") ?? "" };
    });
    if (fits(said)) return;
  }
  throw new Error(`the keyboard does not come to ${what}`);
}

const byKeys = {
  name: "dispatch-keys",
  async run({ page, open, api, axe, picture }) {
    const feeder = await feederOf(api);
    const { keyboard } = page;
    await open("/");
    await keyboard.press("g");
    await keyboard.press("d");
    await page.getByTestId("orders").waitFor();
    // the tabs by arrows
    await tabTo(page, "the tabs", ({ role }) => role === "tab");
    for (const tab of ["Planned", "Waiting for a second person", "Past"]) {
      await keyboard.press("ArrowRight");
      await page.getByRole("tab", { name: new RegExp(`^${tab}`), selected: true }).waitFor();
    }
    await keyboard.press("Home");
    await axe("dispatch, list");
    await picture("dispatch");
    await tabTo(page, "a new dispatch", ({ text }) => text === "New dispatch", "Shift+Tab");
    await keyboard.press("Enter");
    await page.getByTestId("dispatch-form").waitFor();

    // `/` goes to the group; a bad value is said at its field, and the keyboard is put there
    await keyboard.press("/");
    await keyboard.type(feeder.group_id);
    await page.getByTestId("group-found").getByText(feeder.name).waitFor();
    await keyboard.press("Escape");
    await tabTo(page, "how", ({ name }) => name.endsWith("-way"));
    await keyboard.press("ArrowDown");
    await page.getByLabel("Begins").waitFor();
    await keyboard.press("ArrowUp");
    await tabTo(page, "the power", ({ label }) => label.startsWith("Power of all"));
    await keyboard.press("Control+a");
    await keyboard.type("much");
    await keyboard.press("Enter");
    await page.getByText(/as a number above 0/).waitFor();
    await page.locator('input[aria-invalid="true"]:focus').waitFor();
    await keyboard.press("Control+a");
    await keyboard.type("9");
    await keyboard.press("Enter");
    await page.getByTestId("preview-expected").waitFor();

    // the preview has the keyboard now: who takes part, then the launch
    await tabTo(page, "who takes part", ({ text }) => text === "Show who takes part");
    await keyboard.press("Enter");
    await page.getByTestId("preview-sites").getByRole("link").first().waitFor();
    await keyboard.press("Escape");
    await page.getByTestId("preview-sites").waitFor({ state: "detached" });
    await tabTo(page, "the launch", ({ text }) => text === "Launch");
    await keyboard.press("Enter");
    await page.getByRole("dialog", { name: "Launch this?" }).waitFor();
    await tabTo(page, "the act", ({ text }) => text === "Launch");
    await keyboard.press("Enter");

    await page.waitForURL(/#\/dispatch\/[^/]+$/);
    await watched(page);
    await tabTo(page, "to extend", ({ text }) => text.startsWith("Extend"));
    await keyboard.press("Enter");
    await page.getByRole("dialog", { name: "Extend this order" }).waitFor();
    await keyboard.press("ArrowDown");
    await tabTo(page, "the act", ({ text }) => text === "Extend");
    await keyboard.press("Enter");
    await page.getByTestId("order-said").getByText(/^It now ends at/).waitFor();
    await tabTo(page, "to abort", ({ text }) => text.startsWith("Abort"));
    await keyboard.press("Enter");
    await page.getByRole("dialog", { name: "Abort this order?" }).waitFor();
    await keyboard.type("tried out by keyboard");
    await tabTo(page, "the act", ({ text }) => text === "Abort the order");
    await keyboard.press("Enter");
    await page.getByTestId("order-audit").getByText("tried out by keyboard").waitFor();
    await page.getByTestId("order").getByText("aborted", { exact: true }).waitFor();
    await picture("dispatch-keys");
  },
};

export default [operator, byKeys];
