/** The routes, made of what the screens say of themselves; each screen is loaded when it is opened. */
import { createHashHistory, createRootRoute, createRoute, createRouter, lazyRouteComponent, type ErrorComponentProps } from "@tanstack/react-router";
import { useEffect, type ComponentType, type ReactElement } from "react";
import { strings } from "../strings";
import layout from "../ui/layout.module.css";
import { Panel } from "../ui/Panel";
import { faultWords } from "../ui/panelState";
import { links } from "./links";
import { parseSearch, ScreenLink, searchText } from "./nav";
import type { ScreenRoute } from "./screen";
import { SCREENS } from "./screens";
import { useMay } from "./session";
import { Shell } from "./Shell";

function NotFound(): ReactElement {
  return (
    <div className={layout["screen"]}>
      <Panel title={strings.nav.notFound} state={{ kind: "ready" }}>
        {() => <ScreenLink to={links.fleet()}>{strings.nav.toFleet}</ScreenLink>}
      </Panel>
    </div>
  );
}

function Failed({ error, reset }: ErrorComponentProps): ReactElement {
  return (
    <div className={layout["screen"]}>
      <Panel title={strings.nav.failed} state={{ kind: "error", words: faultWords(error) }} onRetry={reset}>
        {() => null}
      </Panel>
    </div>
  );
}

function Pending(): ReactElement {
  return (
    <div className={layout["screen"]}>
      <Panel title={strings.loading} state={{ kind: "loading" }}>
        {() => null}
      </Panel>
    </div>
  );
}

/** A screen behind the right that it takes, with its name on the window. */
function guarded(screen: ScreenRoute): ComponentType {
  const Inner = lazyRouteComponent(screen.load) as ComponentType & { preload?: () => Promise<unknown> };
  function Guarded(): ReactElement {
    const may = useMay(screen.right);
    useEffect(() => {
      document.title = strings.nav.window(screen.title);
    }, []);
    if (may) return <Inner />;
    return (
      <div className={layout["screen"]}>
        <Panel title={screen.title} state={{ kind: "empty", words: strings.nav.mayNot }}>
          {() => null}
        </Panel>
      </div>
    );
  }
  // The router waits for it, so that the former screen stays until the next one is here.
  Guarded.preload = () => Inner.preload?.();
  return Guarded;
}

export function makeRouter(screens: readonly ScreenRoute[] = SCREENS) {
  const root = createRootRoute({ component: Shell, notFoundComponent: NotFound, errorComponent: Failed });
  const routes = screens.map((screen) =>
    createRoute({ getParentRoute: () => root, path: screen.path, component: guarded(screen) as never, errorComponent: Failed, pendingComponent: Pending }),
  );
  return createRouter({
    routeTree: root.addChildren(routes),
    history: createHashHistory(),
    parseSearch,
    stringifySearch: searchText,
    defaultPendingMs: 200,
    scrollRestoration: true,
  });
}
