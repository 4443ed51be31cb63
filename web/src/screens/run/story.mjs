/** A trader looks at the runs, opens a bid's run, and has its decision made again: every byte is the same. */
export default {
  name: "run",
  async run({ page, open, axe, picture }) {
    await open("/runs");
    await page.locator('[data-testid="runs"]:not([data-state="loading"])').waitFor();
    await axe("runs");
    await picture("runs");
    await page.getByRole("link", { name: /^Bid .*: show the run/ }).first().click();
    await page.getByTestId("run-way").waitFor();
    await page.getByRole("button", { name: /^(Decide again|Once more)$/ }).click();
    await page.getByTestId("run-inputs").getByRole("table").waitFor();
    await page.getByRole("button", { name: /Against the gate: show as a table/ }).click();
    await page.getByRole("table", { name: "Against the gate" }).getByText("The gate closes").waitFor();
    await page.getByRole("button", { name: /Against the gate: show as a chart/ }).click();
    // a busy machine may take a minute for it; what comes of it is never another than this
    await page.getByTestId("run-replay").getByText(/It is being decided again|The same, to the last byte/).waitFor();
    // from the top, so that the head of the page covers nothing
    await page.evaluate(() => window.scrollTo(0, 0));
    await axe("run");
    await picture("run");
  },
};
