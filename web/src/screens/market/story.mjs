/** A trader sees the gate come closer, overrides a bid before it, sees it accepted with what it changed and who did it, and what it came to, to the cent. */
export default {
  name: "market",
  async run({ page, open, api, until, axe, picture }) {
    await open("/market");
    await page.locator('[data-testid="market-prices"][data-state="ready"]').waitFor();
    await page.getByTestId("price-basis").waitFor();
    await until("no gate is ahead", () => /\d+ (d|h|min|s)/.test(document.querySelector('[data-testid="gate-countdown"]')?.textContent ?? ""));
    await picture("market");
    await axe("market, prices");

    // another price each time, so that told twice it is another bid
    const price = (60 + (Date.now() % 3000) / 100).toFixed(2);
    const offered = `sells at or above $${price}/MWh: 100 kW`;

    // the override: first with a price that the market does not take
    await page.getByRole("tab", { name: "Bids" }).click();
    await page.getByRole("button", { name: "Override by hand" }).click();
    const form = page.getByRole("form", { name: "Override by hand" });
    await form.getByLabel("First interval").selectOption({ index: 17 });
    const typed = form.getByLabel("Price per MWh").first();
    await form.getByLabel("Quantity, MW").first().fill("0.1");
    await typed.fill("123456");
    await form.getByLabel("Why").fill("a line is out this evening");
    await page.getByRole("button", { name: "Check it" }).click();
    await page.locator('[data-place="row-0-price"]').waitFor();
    await picture("market-override");
    await typed.fill(price);
    await page.getByRole("button", { name: "Check it" }).click();
    await page.getByTestId("manual-draft").getByRole("button", { name: "Send it to the market" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Send it to the market" }).click();
    await page.locator('[data-testid="manual-sent"][data-state="accepted"]').waitFor();
    await page.getByTestId("manual-sent").getByRole("button", { name: /^Show revision/ }).click();
    await page.getByTestId("market-diff").getByText(offered).first().waitFor();
    await page.getByTestId("market-audit").getByText("accepted").first().waitFor();
    await page.getByTestId("market-offers").getByRole("button", { name: offered }).first().hover();
    await page.getByRole("tooltip").getByText("a line is out this evening").waitFor();
    await picture("market-bids");
    await page.mouse.move(2, 2);
    await page.getByRole("tooltip").waitFor({ state: "hidden" });
    await page.evaluate(() => window.scrollTo(0, 0));
    await axe("market, bids");

    await page.getByRole("tab", { name: "Plan" }).click();
    await page.locator('[data-testid="plan-soc"][data-state="ready"]').waitFor();
    await picture("market-plan");
    await axe("market, plan");

    // what an override of the day before came to: every step of the waterfall is shown, and the cents add up
    const { resources } = await api("GET", "/api/market/products");
    const id = resources[0].resource_id;
    const { days } = await api("GET", `/api/settlement?resource=${encodeURIComponent(id)}`);
    const settled = days.find((one) => one.net_cents !== null);
    if (!settled) return;
    await open(`/market/${encodeURIComponent(id)}?tab=bids&day=${settled.delivery_date}`);
    await page.getByTestId("market-bids").getByText(/by hand/).first().waitFor();
    await page.goto(page.url().replace(/#.*/, `#/settlement/${encodeURIComponent(id)}?day=${settled.delivery_date}`));
    const bars = page.getByTestId("waterfall-bars").getByRole("listitem");
    await bars.first().waitFor();
    const fall = await api("GET", `/api/settlement/${encodeURIComponent(id)}/${settled.delivery_date}/waterfall`);
    const sum = fall.steps.reduce((cents, step) => cents + step.amount_cents, fall.from_cents);
    if (sum !== fall.to_cents || fall.to_cents !== settled.net_cents) throw new Error(`the money does not add up: ${sum}, ${fall.to_cents} and ${settled.net_cents} cents`);
    await picture("market-money");
  },
};
