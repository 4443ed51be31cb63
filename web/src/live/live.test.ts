import { describe, expect, it } from "vitest";
import { EMPTY_SERIES, MalformedMessageError, parseMessage } from "../api/message";
import type { DeltaMessage, FleetSeries, Group, LiveState } from "../api/types";
import { BACKOFF_CAP_MS, backoffMs } from "./backoff";
import { CARRY_MS, carriedNow, presenceOf } from "./now";
import { keepOnly, NO_FEEDS, NO_GROUPS, reduce, type LiveModel } from "./reducer";
import { appendSeries, trimSeries } from "./series";
import { LiveSocket, SESSION_OVER, SILENCE_MS, type Link, type SocketLike, type Wish } from "./socket";
import { LINGER_MS, partsOf, topicOf, TOPICS, Wanted } from "./topics";

function points(...t: number[]): FleetSeries {
  const values = t.map((at) => at / 10);
  return { t_ms: t, battery_kw: values, expected_kw: values, low_kw: values, high_kw: values, solar_kw: values, load_kw: values, soc_frac: values, coverage_kw_frac: values };
}

function snapshotText(seq: number, extra: Partial<LiveState> = {}): string {
  return JSON.stringify({ kind: "snapshot", seq, state: { now_ms: 1000, zone: "UTC", ...extra } });
}

function first(seq = 1, extra: Partial<LiveState> = {}): LiveModel {
  const step = reduce(null, parseMessage(snapshotText(seq, extra)));
  if (step.kind !== "next") throw new Error("a snapshot is always taken");
  return step.model;
}

function delta(seq: number, set: DeltaMessage["set"], append: DeltaMessage["append"] = {}): DeltaMessage {
  return { kind: "delta", from: seq - 1, seq, set, append, feeds: {} };
}

describe("parseMessage", () => {
  it("does not make up what was not sent", () => {
    const message = parseMessage(snapshotText(3));
    if (message.kind !== "snapshot") throw new Error("not a snapshot");
    expect(message.state.fleet).toBeUndefined();
    expect(message.epoch).toBeNull();
    expect(message.feeds).toEqual({});
  });

  it.each(["nonsense", "[]", "{}", '{"kind":"other","seq":1}', '{"kind":"snapshot","seq":1}', '{"kind":"snapshot","seq":1,"state":{"zone":"UTC"}}'])(
    "refuses %s",
    (text) => {
      expect(() => parseMessage(text)).toThrow(MalformedMessageError);
    },
  );
});

describe("reduce", () => {
  it("replaces top-level keys whole and leaves the others as they are", () => {
    const held = first(7, { groups: [] });
    const step = reduce(held, delta(8, { now_ms: 2000, quarantine: { total: 1, by_reason: { late: 1 }, recent: [] } }));
    expect(step.kind).toBe("next");
    if (step.kind !== "next") return;
    expect(step.model.seq).toBe(8);
    expect(step.model.state.now_ms).toBe(2000);
    expect(step.model.state.quarantine?.by_reason).toEqual({ late: 1 });
    expect(step.model.state.groups).toBe(held.state.groups);
    expect(held.state.now_ms).toBe(1000);
  });

  it("appends to the series", () => {
    const step = reduce(first(1, { fleet_series: points(10, 20) }), delta(2, {}, { fleet_series: points(30) }));
    expect(step.kind === "next" && step.model.state.fleet_series?.t_ms).toEqual([10, 20, 30]);
  });

  it("asks for a new snapshot on a gap, a repeat, and a delta before any snapshot", () => {
    expect(reduce(first(7), delta(9, {})).kind).toBe("gap");
    expect(reduce(first(7), delta(7, {})).kind).toBe("gap");
    expect(reduce(null, delta(1, {})).kind).toBe("gap");
  });

  it("takes figures of groups outside of the sequence", () => {
    const held = first(7);
    const step = reduce(held, { kind: "groups", as_of_ms: 1, groups: [{ group_id: "texas" } as Group] });
    expect(step.kind === "next" && [step.model.seq, [...step.model.watched.keys()]]).toEqual([7, ["texas"]]);
    expect(step.kind === "next" && step.model.state).toBe(held.state);
    expect(reduce(null, { kind: "groups", as_of_ms: 1, groups: [] }).kind).toBe("gap");
  });

  it("takes a snapshot at any time", () => {
    const step = reduce(first(7), parseMessage(snapshotText(1)));
    expect(step.kind === "next" && step.model.seq).toBe(1);
  });
});

describe("series", () => {
  it("keeps only the window that ends with the newest point", () => {
    const held = appendSeries(points(0, 100, 200), points(1100, 1200), 1000);
    expect(held.t_ms).toEqual([200, 1100, 1200]);
    expect(held.load_kw).toEqual([20, 110, 120]);
  });

  it("never keeps more points than its bound, however long it runs, and thins out what is old", () => {
    let held = EMPTY_SERIES;
    for (let i = 0; i < 5000; i += 1) {
      held = appendSeries(held, points(i), 3000, 100);
      expect(held.t_ms.length).toBeLessThanOrEqual(100);
    }
    expect(held.t_ms.at(-1)).toBe(4999);
    expect(held.t_ms[0]).toBeLessThan(2100);
    expect(held.t_ms.slice(-20)).toEqual(Array.from({ length: 20 }, (_, i) => 4980 + i));
    expect(held.coverage_kw_frac).toEqual(held.t_ms.map((at) => at / 10));
  });

  it("drops points that are not later than what is held", () => {
    const held = appendSeries(points(10, 20), points(15, 20, 30));
    expect(held.t_ms).toEqual([10, 20, 30]);
    expect(held.battery_kw).toEqual([1, 2, 3]);
  });

  it("fills a short column with gaps instead of letting it slip", () => {
    const short = { ...points(30, 40), solar_kw: [3] };
    expect(appendSeries(points(10), short).solar_kw).toEqual([1, 3, null]);
  });

  it("returns the same object when nothing changes", () => {
    const held = points(10, 20);
    expect(trimSeries(held)).toBe(held);
    expect(appendSeries(held, points(20))).toBe(held);
  });
});

describe("backoffMs", () => {
  it("doubles, is capped and jitters", () => {
    expect(backoffMs(0, 0)).toBe(250);
    expect(backoffMs(0, 1)).toBe(500);
    expect(backoffMs(3, 0)).toBe(2000);
    expect(backoffMs(99, 1)).toBe(BACKOFF_CAP_MS);
  });
});

describe("clock", () => {
  it("carries the time forward with the speed, for a moment only", () => {
    expect(carriedNow({ nowMs: 1000, speed: 60, silentMs: 500 })).toBe(31_000);
    expect(carriedNow({ nowMs: 1000, speed: 60, silentMs: 1e9 })).toBe(1000 + 60 * CARRY_MS);
    expect(carriedNow({ nowMs: 1000, speed: null, silentMs: 500 })).toBe(1000);
  });

  it("tells live, stale, finished and reconnecting apart", () => {
    const state = first().state;
    const view = { state, feeds: NO_FEEDS, watched: NO_GROUPS, receivedMs: 0, link: "live" as const, fault: null, slow: false };
    expect(presenceOf(view, 1000)).toBe("live");
    expect(presenceOf(view, 60_000)).toBe("stale");
    expect(presenceOf({ ...view, link: "reconnecting" }, 1000)).toBe("reconnecting");
    const done = { ...state, run: { from_ms: 0, to_ms: 1, done_frac: 1 } };
    expect(presenceOf({ ...view, state: done }, 60_000)).toBe("finished");
  });
});

class FakeSocket implements SocketLike {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event?: { code?: number }) => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;
  readonly sent: string[] = [];
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.closed = true;
  }
}

function bench() {
  const sockets: FakeSocket[] = [];
  const wishes: Wish[] = [];
  const over: true[] = [];
  const links: Link[] = [];
  const models: LiveModel[] = [];
  const faults: string[] = [];
  let waiting: { ms: number; task: () => void }[] = [];
  const live = new LiveSocket(
    {
      openSocket: (wish) => {
        wishes.push(wish);
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket;
      },
      after: (ms, task) => {
        const entry = { ms, task };
        waiting.push(entry);
        return () => {
          waiting = waiting.filter((one) => one !== entry);
        };
      },
      nowMs: () => 0,
      random: () => 1,
    },
    { onModel: (model) => models.push(model), onLink: (link) => links.push(link), onFault: (text) => faults.push(text), onSessionOver: () => over.push(true) },
  );
  const fire = (which: (ms: number) => boolean): void => {
    const entry = waiting.find((one) => which(one.ms));
    if (!entry) throw new Error("nothing waits");
    waiting = waiting.filter((one) => one !== entry);
    entry.task();
  };
  const say = (text: unknown): void => sockets.at(-1)?.onmessage?.({ data: text });
  return { live, sockets, wishes, over, links, models, faults, fire, say, waits: () => waiting.map((one) => one.ms) };
}

describe("LiveSocket", () => {
  const isRetry = (ms: number): boolean => ms !== SILENCE_MS;

  it("reconnects on a gap and goes on from a new snapshot", () => {
    const b = bench();
    b.live.start();
    b.say(snapshotText(1));
    b.say(JSON.stringify(delta(3, {})));
    expect(b.links).toEqual(["live", "reconnecting"]);
    expect(b.sockets[0]?.closed).toBe(true);
    b.fire(isRetry);
    b.say(snapshotText(9));
    b.say(JSON.stringify(delta(10, { now_ms: 5 })));
    expect(b.sockets).toHaveLength(2);
    expect(b.models.map((model) => model.seq)).toEqual([1, 9, 10]);
    expect(b.links.at(-1)).toBe("live");
  });

  it("waits longer after each failure, and starts over once it has a snapshot", () => {
    const b = bench();
    b.live.start();
    const waits: (number | undefined)[] = [];
    for (let i = 0; i < 3; i += 1) {
      b.sockets.at(-1)?.onclose?.();
      waits.push(b.waits().find(isRetry));
      b.fire(isRetry);
    }
    expect(waits).toEqual([500, 1000, 2000]);
    b.say(snapshotText(1));
    b.sockets.at(-1)?.onclose?.();
    expect(b.waits().find(isRetry)).toBe(500);
  });

  it("gives up a connection that stays silent", () => {
    const b = bench();
    b.live.start();
    b.say(snapshotText(1));
    expect(b.waits()).toEqual([SILENCE_MS]);
    b.fire((ms) => ms === SILENCE_MS);
    expect(b.links.at(-1)).toBe("reconnecting");
  });

  it("reports what it cannot read and connects again", () => {
    const b = bench();
    b.live.start();
    b.say("nonsense");
    b.fire(isRetry);
    b.say(new ArrayBuffer(1));
    expect(b.faults).toHaveLength(2);
    expect(b.models).toHaveLength(0);
  });

  it("says what it watches once it has a snapshot, and again after a reconnection", () => {
    const b = bench();
    b.live.start();
    b.live.watch(["texas"]);
    expect(b.sockets[0]?.sent).toEqual([]);
    b.say(snapshotText(1));
    b.live.watch(["texas"]);
    expect(b.sockets[0]?.sent).toEqual(['{"watch":["texas"]}']);
    b.sockets.at(-1)?.onclose?.();
    b.fire(isRetry);
    b.say(snapshotText(1));
    b.live.watch([]);
    expect(b.sockets[1]?.sent).toEqual(['{"watch":["texas"]}', '{"watch":[]}']);
  });

  it("connects again from where it was, and from the beginning after a gap", () => {
    const b = bench();
    b.live.start();
    b.say(JSON.stringify({ kind: "snapshot", seq: 7, epoch: "e", state: { now_ms: 1, zone: "UTC", alarms: { active_count: 1, active: [] } } }));
    b.live.want(["alarms", "now"]);
    expect(b.sockets[0]?.sent).toEqual(['{"topics":["alarms","now"]}']);
    b.sockets.at(-1)?.onclose?.({ code: 1006 });
    b.fire(isRetry);
    expect(b.wishes[1]).toEqual({ topics: ["alarms", "now"], epoch: "e", seq: 7 });
    b.say(JSON.stringify({ kind: "delta", from: 7, seq: 19, set: { now_ms: 5 }, append: {} }));
    expect(b.models.at(-1)).toMatchObject({ seq: 19, slow: false });
    b.say(JSON.stringify({ kind: "slow", slow: true }));
    expect(b.models.at(-1)).toMatchObject({ seq: 19, slow: true });
    b.say(JSON.stringify({ kind: "delta", from: 20, seq: 21, set: {}, append: {} }));
    b.fire(isRetry);
    expect(b.wishes[2]).toEqual({ topics: ["alarms", "now"], epoch: null, seq: null });
  });

  it("lets go of what is no longer sent, and asks for what was wished meanwhile", () => {
    const b = bench();
    b.live.start();
    b.live.want(["now", "system"]);
    b.say(snapshotText(1, { health: [] }));
    expect(b.sockets[0]?.sent).toEqual(['{"topics":["now","system"]}']);
    expect(b.models.at(-1)?.state.health).toEqual([]);
    b.live.want(["now"]);
    expect(b.models.at(-1)?.state).toEqual({ now_ms: 1000, zone: "UTC" });
  });

  it("tells when the session is over, and connects at once after signing in", () => {
    const b = bench();
    b.live.start();
    b.say(snapshotText(1));
    b.sockets.at(-1)?.onclose?.({ code: SESSION_OVER });
    expect(b.over).toHaveLength(1);
    b.live.hurry();
    expect(b.sockets).toHaveLength(2);
    expect(b.waits()).toEqual([SILENCE_MS]);
  });

  it("is silent once stopped", () => {
    const b = bench();
    b.live.start();
    b.say(snapshotText(1));
    b.live.stop();
    expect(b.sockets[0]?.closed).toBe(true);
    expect(b.waits()).toEqual([]);
  });
});

describe("topics", () => {
  it("has every part in one topic", () => {
    const all = Object.values(TOPICS).flat();
    expect(new Set(all).size).toBe(all.length);
    expect(topicOf("alarms")).toBe("alarms");
    expect(partsOf("site/home-1")).toEqual([]);
  });

  it("keeps a feed only while it is wanted", () => {
    const model = { ...first(), feeds: new Map([["site/a", { as_of_ms: 1, value: 1, fault: null }]]) };
    expect(keepOnly(model, ["now", "site/a"]).feeds.size).toBe(1);
    expect(keepOnly(model, ["now"]).feeds.size).toBe(0);
  });

  it("wants a topic as long as somebody shows it, and a while longer", () => {
    let waiting: { ms: number; task: () => void }[] = [];
    const told: string[][] = [];
    const wanted = new Wanted(
      (ms, task) => {
        const entry = { ms, task };
        waiting.push(entry);
        return () => {
          waiting = waiting.filter((one) => one !== entry);
        };
      },
      (topics) => told.push([...topics]),
    );
    const one = wanted.hold("alarms");
    const other = wanted.hold("alarms");
    expect(told).toEqual([["alarms", "now"]]);
    one();
    one();
    expect(waiting).toEqual([]);
    other();
    expect(waiting.map((entry) => entry.ms)).toEqual([LINGER_MS]);
    const again = wanted.hold("alarms");
    expect(waiting).toEqual([]);
    again();
    waiting[0]?.task();
    expect(told.at(-1)).toEqual(["now"]);
  });
});
