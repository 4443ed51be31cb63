const MANY = 10_000;
/** How long a click may take to be answered on a loaded machine. */
const ANSWER_MS = 5_000;

/** An operator goes from the alarm bar to the groups by keyboard, and sees what stands, what is put aside, what is over. */
const calm = {
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

/** Everything fails at once: ten groups at most, every alarm counted, and a page that answers as on a calm day. */
const storm = {
  name: "alarms-10000",
  async run({ page, open, api, plant, until, axe, picture }) {
    const { now_ms: nowMs } = await api("GET", "api/state");
    await plant("raise-alarms", MANY, nowMs);
    await open("/alarms");
    const counted = ([most, where, what]) => {
      const number = (text) => Number(text.replace(/\D/g, ""));
      const found = [...document.querySelectorAll(where)].flatMap((one) => [...one.innerText.matchAll(new RegExp(what, "g"))].map((hit) => number(hit[0])));
      const sum = found.reduce((a, b) => a + b, 0);
      return sum >= most && sum < most + 100;
    };
    await until("the alarm bar does not count them all", counted, [MANY, '[data-testid="alarm-bar"]', "\\d[\\d,\\s\\u202f\\u00a0]* (?=critical|major|warning|notice)"]);
    await until("the groups do not add up to all of them", counted, [MANY, '[data-testid="alarm-group"]', "\\d[\\d,\\u202f\\u00a0]* alarms?(?=\\n)"]);
    const groups = await page.getByTestId("alarm-group").count();
    if (groups < 2 || groups > 10) throw new Error(`${groups} groups of ${MANY} alarms`);
    await axe();
    await picture();
    const first = page.locator("[data-cause]").first();
    await first.click({ timeout: ANSWER_MS });
    const inside = page.getByRole("region", { name: /^Group: / });
    await inside.waitFor({ timeout: ANSWER_MS });
    await inside.getByRole("link").last().waitFor({ timeout: ANSWER_MS });
    await page.keyboard.press("End");
    await page.mouse.wheel(0, 2_000);
    await until("it does not scroll", () => window.scrollY > 0);
  },
};

export default [calm, storm];
