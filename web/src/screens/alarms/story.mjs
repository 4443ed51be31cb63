/** An operator goes from the alarm bar to the groups by keyboard, and sees what stands, what is put aside, what is over. */
export default {
  name: "alarms",
  async run({ page, open, axe, picture }) {
    await open("/alarms");
    await page.getByTestId("alarm-groups").waitFor();
    await page.locator('[data-testid="alarm-groups"]:not([data-state="loading"])').waitFor();
    if ((await page.getByTestId("alarm-group").count()) > 10) throw new Error("more than ten groups of alarms");
    const first = page.locator("[data-cause]").first();
    if ((await first.count()) > 0) {
      await first.focus();
      await page.keyboard.press("Enter");
      await page.getByRole("region", { name: /^Group: / }).waitFor();
    }
    await axe();
    await picture();
    await page.getByRole("tab", { name: /^Standing/ }).focus();
    await page.keyboard.press("End");
    await page.getByTestId("alarm-history").waitFor();
    await axe();
  },
};
