/** A trader looks at the days of a resource, and where the money of one of them went; the cents add up. */
export default {
  name: "settlement",
  async run({ page, open, axe, picture }) {
    await open("/settlement");
    await page.locator('[data-testid="settlement-days"][data-state="ready"]').waitFor();
    const net = page.getByTestId("waterfall-bars").getByRole("listitem");
    if ((await page.getByTestId("waterfall").count()) > 0) {
      await page.locator('[data-testid="waterfall"]:not([data-state="loading"])').waitFor();
      if ((await net.count()) > 0) {
        await page.getByRole("button", { name: /Where the money .*: show as a table/ }).click();
        await page.getByRole("table", { name: /Where the money/ }).waitFor();
        await page.getByRole("button", { name: /Where the money .*: show as a chart/ }).click();
      }
    }
    await axe();
    await picture();
  },
};
