/** An engineer looks at one site: from the list to what it does now, its history, its orders and its device. */
export default {
  name: "site",
  async run({ page, open, axe, picture }) {
    await open("/sites");
    const first = page.getByTestId("site-list").getByRole("link").first();
    await first.waitFor();
    const site = await first.textContent();
    await first.click();
    await page.getByTestId("site-name").getByText(site ?? "", { exact: true }).waitFor();
    await page.locator('[data-testid="site-now"]:is([data-state="ready"], [data-state="stale"])').waitFor();
    await page.locator('[data-testid="site-telemetry"]:is([data-state="ready"], [data-state="partial"])').waitFor();
    await page.locator('[data-testid="site-device"][data-state="ready"]').waitFor();
    await page.getByRole("button", { name: "1 hour", exact: true }).press("Enter");
    await page.locator('[aria-pressed="true"]', { hasText: "1 hour" }).waitFor();
    // what lies beneath the bar at the top has no contrast that could be told
    await page.evaluate(() => window.scrollTo(0, 0));
    await axe();
    await picture();
  },
};
