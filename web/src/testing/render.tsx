/** Draws a part of the page as it stands in the page, and lets axe look at it. Used by the tests of parts and screens. */
import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, render, type RenderResult } from "@testing-library/react";
import axe from "axe-core";
import type { ReactElement } from "react";
import type { Right } from "../api/types";
import { SessionOf } from "../app/session";
import { showView, type LiveView } from "../live/store";
import { ConfirmProvider } from "../ui/Confirm";
import { sessionOf } from "./states";

export interface Around {
  /** What the reader may; everything when left out. */
  readonly rights?: readonly Right[];
  readonly live?: Partial<LiveView>;
}

const EVERYTHING: readonly Right[] = ["see", "operate", "trade", "administer", "home"];

/** What is live while the test runs. */
export function liveNow(view: Partial<LiveView>): void {
  act(() => showView({ link: "live", receivedMs: performance.now(), ...view }));
}

export function draw(element: ReactElement, { rights = EVERYTHING, live }: Around = {}): RenderResult {
  showView({ link: "live", receivedMs: performance.now(), ...live });
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const session = sessionOf(rights);
  return render(element, {
    wrapper: ({ children }) => (
      <MantineProvider env="test">
        <QueryClientProvider client={client}>
          <SessionOf session={session}>
            <ConfirmProvider>{children}</ConfirmProvider>
          </SessionOf>
        </QueryClientProvider>
      </MantineProvider>
    ),
  });
}

/** What axe has against a drawing; colours are looked at in the browser, where there are some. */
export async function faultsOf(container: Element): Promise<string[]> {
  const { violations } = await axe.run(container, { rules: { "color-contrast": { enabled: false }, region: { enabled: false } } });
  return violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
}
