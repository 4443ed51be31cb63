/** An operator opens the page: the plant is live, what it does stands in one sentence, and the alarms are in view. */
export default {
  name: "fleet",
  async run({ page, open, until, axe, picture }) {
    await open("/");
    await page.getByTestId("sentence").waitFor();
    await page.getByTestId("alarm-bar").waitFor();
    const before = await page.getByTestId("now-clock").getAttribute("data-server-ms");
    await until("the plant's clock stands still", (held) => document.querySelector('[data-testid="now-clock"]')?.getAttribute("data-server-ms") !== held, before);
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
    await axe();
    await picture();
  },
};
