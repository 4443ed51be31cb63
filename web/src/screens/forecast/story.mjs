/** Somebody asks how good the forecast of a price was: its error beside the naive one, whether it is honest, and what beats it. */
export default {
  name: "forecast",
  async run({ page, open, axe, picture }) {
    await open("/forecast");
    const total = page.locator('[data-testid="forecast-total"]:not([data-state="loading"])');
    await total.waitFor();
    await page.locator('[data-testid="forecast-contests"]:not([data-state="loading"])').waitFor();
    if ((await page.getByTestId("forecast-mae").count()) > 0) {
      await page.getByTestId("coverage-plot").waitFor();
      await page.getByRole("button", { name: /Error over time: show as a table/ }).click();
      await page.getByRole("table", { name: "Scores by day or week" }).waitFor();
      await page.getByRole("button", { name: /Error over time: show as a chart/ }).click();
    }
    await page.getByTestId("forecast-series").getByRole("button", { name: /^Show Price at / }).last().click();
    await total.waitFor();
    await axe();
    await picture();
  },
};
