/** Loading a part of the page that is fetched when it is looked at, over a server that is away for a moment. */
const WAITS_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

/** What `load` brings; asked again while the server is away, for half a minute. */
export async function patiently<T>(load: () => Promise<T>, waitsMs: readonly number[] = WAITS_MS): Promise<T> {
  for (const wait of waitsMs) {
    try {
      return await load();
    } catch {
      await new Promise((wake) => setTimeout(wake, wait));
    }
  }
  return load();
}
