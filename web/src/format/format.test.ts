import { describe, expect, it } from "vitest";
import { marketName } from "./market";
import { amount, exactAmount, exactSize, price, priceTick } from "./money";
import { bytes, fixed, percent } from "./number";
import {
  batteryPhrase,
  batteryRange,
  deliveredGap,
  energySize,
  energyTick,
  gridPhrase,
  outward,
  powerSize,
  powerTick,
  tradedPhrase,
} from "./power";
import { clock, countdown, dayHour, deliveryDay, duration, intervalWords, timeTick, utc } from "./time";

describe("power", () => {
  it("says a direction in words, never with a sign", () => {
    // The four numbers of the sign rule: solar -5, battery +3, load +1, site -1 kW.
    expect(powerSize(-5)).toBe("5.0 kW");
    expect(batteryPhrase(3)).toBe("charging 3.0 kW");
    expect(powerSize(1)).toBe("1.0 kW");
    expect(gridPhrase(-1)).toBe("exporting 1.0 kW");
    expect(batteryPhrase(-3200)).toBe("discharging 3.20 MW");
    expect(gridPhrase(1200)).toBe("importing 1.20 MW");
    expect(batteryPhrase(0.01)).toBe("idle");
  });

  it("names market energy by its side", () => {
    expect(tradedPhrase(-8.4)).toBe("sold 8.40 MWh");
    expect(tradedPhrase(0.2)).toBe("bought 200 kWh");
    expect(tradedPhrase(0)).toBe("nothing");
  });

  it("turns the sign once for the charts, and keeps a gap a gap", () => {
    expect(outward(-5)).toBe(5);
    expect(outward(3)).toBe(-3);
    expect(Object.is(outward(0), 0)).toBe(true);
    expect(outward(null)).toBeNull();
    expect(outward(undefined)).toBeNull();
    expect(outward(Number.NaN)).toBeNull();
  });

  it("labels ticks with arrows and one unit for the whole axis", () => {
    expect(powerTick(10_000, 20_000)).toBe("▲ 10 MW");
    expect(powerTick(-500, 2400)).toBe("▼ 0.5 MW");
    expect(powerTick(0, 20_000)).toBe("0 MW");
    expect(powerTick(-40, 100)).toBe("▼ 40 kW");
    expect(energyTick(5, 12)).toBe("▲ 5 MWh");
    expect(energyTick(-0.4, 1)).toBe("▼ 400 kWh");
  });

  it("says one direction of a range once, two directions both", () => {
    expect(batteryRange(-3300, -3100)).toEqual(["3.10 MW", "3.30 MW"]);
    expect(batteryRange(-100, 200)).toEqual(["discharging 100 kW", "charging 200 kW"]);
  });

  it("tells short from over whichever way the award went", () => {
    expect(deliveredGap(-7.2, -7)).toBe("200 kWh short");
    expect(deliveredGap(7.2, 7)).toBe("200 kWh short");
    expect(deliveredGap(-7.2, -7.4)).toBe("200 kWh over");
    expect(deliveredGap(0, 0.3)).toBe("300 kWh over");
    expect(deliveredGap(-7.2, -7.2)).toBe("as awarded");
  });

  it("keeps units with the size", () => {
    expect(powerSize(999)).toBe("999 kW");
    expect(powerSize(1000)).toBe("1.00 MW");
    expect(powerSize(123_456)).toBe("123 MW");
    expect(energySize(32_800)).toBe("32.8 MWh");
    expect(energySize(4.25)).toBe("4.3 kWh");
  });
});

describe("numbers", () => {
  it("never shows a negative zero", () => {
    expect(fixed(-0.04, 1)).toBe("0.0");
  });

  it("never rounds a share up to the whole", () => {
    expect(percent(0.9996)).toBe("99 %");
    expect(percent(0.9996, 1)).toBe("99.9 %");
    expect(percent(1)).toBe("100 %");
    expect(percent(0.125)).toBe("13 %");
  });

  it("names bytes", () => {
    expect(bytes(72)).toBe("72 B");
    expect(bytes(2048)).toBe("2.0 KiB");
  });
});

describe("money", () => {
  it("says who pays", () => {
    expect(amount(1240.4, "USD")).toBe("$1,240");
    expect(amount(-12.3, "USD")).toBe("paid $12.30");
    expect(amount(-0.001, "USD")).toBe("$0.00");
  });

  it("lets a price be negative", () => {
    expect(price(45.1, "USD")).toBe("$45.10/MWh");
    expect(price(-3.2, "USD")).toBe("\u2212$3.20/MWh");
    expect(priceTick(-50, "USD")).toBe("\u2212$50");
    expect(priceTick(9000, "EUR")).toBe("€9,000");
  });
});

describe("time", () => {
  const at = Date.parse("2021-02-10T12:00:05Z");

  it("speaks the market's zone and keeps UTC for the hover", () => {
    expect(clock(at, "America/Chicago")).toBe("Wed 10 Feb 2021 06:00:05 CST");
    expect(utc(at)).toBe("2021-02-10 12:00:05 UTC");
    expect(dayHour(at, "America/Chicago")).toBe("10 Feb 06:00");
    expect(clock(at, "Nowhere/Unknown")).toContain("12:00:05 UTC");
  });

  it("follows the clock change", () => {
    const before = Date.parse("2021-03-14T07:59:59Z");
    expect(clock(before, "America/Chicago")).toContain("01:59:59 CST");
    expect(clock(before + 1000, "America/Chicago")).toContain("03:00:00 CDT");
  });

  it("marks local midnight by its day", () => {
    const midnight = Date.parse("2021-02-10T06:00:00Z");
    expect(timeTick(midnight, "America/Chicago")).toBe("10 Feb");
    expect(timeTick(midnight + 3_600_000, "America/Chicago")).toBe("01:00");
    expect(intervalWords(midnight, midnight + 3_600_000, "America/Chicago")).toBe("10 Feb 00:00 to 01:00");
  });

  it("takes a delivery date as a date, in no zone", () => {
    expect(deliveryDay("2021-02-10")).toBe("Wed 10 Feb");
    expect(deliveryDay("soon")).toBe("soon");
  });

  it("counts down and tells ages", () => {
    expect(countdown(15 * 3_600_000 + 44 * 60_000)).toBe("15 h 44 min");
    expect(countdown(65_000)).toBe("1 min 05 s");
    expect(countdown(900)).toBe("0 s");
    expect(countdown(0)).toBeNull();
    expect(duration(0.42)).toBe("0.4 s");
    expect(duration(95)).toBe("95 s");
    expect(duration(3600)).toBe("60 min");
    expect(duration(200_000)).toBe("2 d");
  });
});

describe("markets", () => {
  it("speaks known ids and leaves unknown ones readable", () => {
    expect(marketName("ercot_dam")).toBe("ERCOT day-ahead");
    expect(marketName("some-market")).toBe("some market");
  });
});

describe("whole cents", () => {
  it("keep both decimals at any size", () => {
    expect(exactAmount(124_005, "USD")).toBe("$1,240.05");
    expect(exactAmount(-1_230, "USD")).toBe("paid $12.30");
    expect(exactSize(-99_999_999, "EUR")).toBe("€999,999.99");
  });
});
