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
    let settled;
    let override;
    let rivals = [];
    for (const day of days.filter((one) => one.net_cents !== null)) {
      const { bids } = await api("GET", `/api/market/bids?resource=${encodeURIComponent(id)}&day=${day.delivery_date}`);
      override = bids.find((one) => one.author !== "");
      settled = day;
      rivals = bids.filter((one) => override && one.revision > override.revision && !["draft", "withdrawn", "rejected"].includes(one.state));
      if (override) break;
    }
    if (!settled) throw new Error("no day is settled yet, so nothing shows what an override came to");
    if (!override) throw new Error(`nothing was decided by hand for ${settled.delivery_date}, the day that is settled`);
    if (!override.stands) throw new Error(`the override of ${settled.delivery_date}, revision ${override.revision}, does not stand: it is ${override.state}`);
    const listed = async (bid) => {
      const { offers } = await api("GET", `/api/market/bids/${encodeURIComponent(bid.key)}`);
      return offers.flatMap((offer) => offer.intervals.map((span) => `${offer.product} at ${new Date(span.start_ms).toISOString()}`));
    };
    const decided = new Set(await listed(override));
    for (const rival of rivals) {
      const taken = (await listed(rival)).filter((span) => decided.has(span));
      if (taken.length > 0) throw new Error(`revision ${rival.revision} stands where revision ${override.revision} was decided by hand: ${taken.join(", ")}`);
    }
    await open(`/market/${encodeURIComponent(id)}?tab=bids&day=${settled.delivery_date}`);
    const revisions = page.getByTestId("market-bids").getByRole("row").filter({ hasText: /by hand/ });
    await revisions.filter({ has: page.getByRole("button", { name: `Revision ${override.revision},` }) }).getByText("stands in the market").waitFor();
    await page.goto(page.url().replace(/#.*/, `#/settlement/${encodeURIComponent(id)}?day=${settled.delivery_date}`));
    const bars = page.getByTestId("waterfall-bars").getByRole("listitem");
    await bars.first().waitFor();
    const fall = await api("GET", `/api/settlement/${encodeURIComponent(id)}/${settled.delivery_date}/waterfall`);
    const sum = fall.steps.reduce((cents, step) => cents + step.amount_cents, fall.from_cents);
    if (sum !== fall.to_cents || fall.to_cents !== settled.net_cents) throw new Error(`the money does not add up: ${sum}, ${fall.to_cents} and ${settled.net_cents} cents`);
    await picture("market-money");
  },
};
