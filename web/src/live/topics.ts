/** Which topic of the socket has which part of the state: a component that shows a part subscribes its topic. */
import type { LiveState } from "../api/types";

export const TOPICS = {
  now: ["now_ms", "zone", "speed", "run"],
  fleet: ["fleet", "twins", "groups", "resources", "next_gate"],
  series: ["fleet_series"],
  alarms: ["alarms", "alerts"],
  market: ["prices", "bids", "delivery", "money"],
  runs: ["runs"],
  system: ["health", "quarantine"],
} as const satisfies Record<string, readonly (keyof LiveState)[]>;

export type TopicName = keyof typeof TOPICS;

const TOPIC_OF = new Map<keyof LiveState, TopicName>(
  (Object.keys(TOPICS) as TopicName[]).flatMap((name) => TOPICS[name].map((part) => [part, name] as const)),
);

/** The topic that has a part. */
export function topicOf(part: keyof LiveState): TopicName {
  return TOPIC_OF.get(part) ?? "now";
}

/** The parts of a topic; none of a feed's. */
export function partsOf(topic: string): readonly (keyof LiveState)[] {
  return topic in TOPICS ? TOPICS[topic as TopicName] : [];
}

/** How long a topic is kept after nobody shows it any more: a change of screen must not let go of what both show. */
export const LINGER_MS = 5_000;

/** Counts who shows what; says which topics are wanted whenever that changes. Pure but for the timer that is handed in. */
export class Wanted {
  private readonly shown = new Map<string, number>([["now", 1]]);
  private readonly leaving = new Map<string, () => void>();

  constructor(
    private readonly after: (ms: number, task: () => void) => () => void,
    private readonly onChange: (topics: readonly string[]) => void,
  ) {}

  /** The topics that are wanted, in order. */
  topics(): readonly string[] {
    return [...this.shown.keys()].sort();
  }

  /** Want a topic; returns how to let go of it. */
  hold(topic: string): () => void {
    this.leaving.get(topic)?.();
    this.leaving.delete(topic);
    const count = this.shown.get(topic);
    this.shown.set(topic, (count ?? 0) + 1);
    if (count === undefined) this.onChange(this.topics());
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.letGo(topic);
    };
  }

  private letGo(topic: string): void {
    const left = (this.shown.get(topic) ?? 1) - 1;
    this.shown.set(topic, left);
    if (left > 0) return;
    this.leaving.set(
      topic,
      this.after(LINGER_MS, () => {
        this.leaving.delete(topic);
        this.shown.delete(topic);
        this.onChange(this.topics());
      }),
    );
  }
}
