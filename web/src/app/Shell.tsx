/** What is around every screen: brand, the plant's clock, navigation, the alarms that stand, who reads. */
import { Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef, useState, type ReactElement } from "react";
import { Header } from "../features/header/Header";
import { strings } from "../strings";
import { Dialog } from "../ui/Dialog";
import { ErrorBoundary } from "../ui/ErrorBoundary";
import { AlarmBar } from "./AlarmBar";
import { useShortcuts } from "./keys";
import { ScreenLink, usePath } from "./nav";
import type { ScreenRoute } from "./screen";
import { NAVIGATION } from "./screens";
import { useMay } from "./session";
import classes from "./Shell.module.css";
import { UserMenu } from "./UserMenu";

/** Whether an address belongs to a screen of the navigation. */
export function isCurrent(path: string, screen: Pick<ScreenRoute, "path">): boolean {
  const start = screen.path.replace(/\/\$.*$/, "");
  return start === "/" || start === "" ? path === "/" : path === start || path.startsWith(`${start}/`);
}

function NavigationLink({ screen, path }: { screen: ScreenRoute; path: string }): ReactElement | null {
  const may = useMay(screen.right);
  if (!may) return null;
  return (
    <li>
      <ScreenLink to={screen.path} className={classes["link"]} current={isCurrent(path, screen)}>
        {screen.title}
      </ScreenLink>
    </li>
  );
}

function Keys({ onClose }: { onClose: () => void }): ReactElement {
  return (
    <Dialog title={strings.keys.title} onClose={onClose}>
      <dl className={classes["keys"]}>
        {NAVIGATION.map((one) => (
          <div key={one.path}>
            <dt>
              <kbd>g</kbd> <kbd>{one.nav?.key}</kbd>
            </dt>
            <dd>{one.title}</dd>
          </div>
        ))}
        {strings.keys.others.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

export function Shell(): ReactElement {
  const path = usePath();
  const [keysShown, setKeysShown] = useState(false);
  const main = useRef<HTMLElement>(null);
  useShortcuts(() => setKeysShown(true));

  // Another screen begins at its top, and the keyboard and the reader's voice begin there, too.
  const place = useRouterState({ select: (state) => state.resolvedLocation?.pathname });
  const before = useRef(place);
  useEffect(() => {
    if (before.current !== undefined && place !== before.current) main.current?.focus();
    before.current = place;
  }, [place]);

  return (
    <>
      <a href="#main" className={classes["skip"]} onClick={(event) => {
        event.preventDefault();
        main.current?.focus();
      }}>
        {strings.nav.skip}
      </a>
      <div className={classes["top"]}>
        <ErrorBoundary>
          <Header end={<UserMenu onKeys={() => setKeysShown(true)} />} />
        </ErrorBoundary>
        {NAVIGATION.length > 1 ? (
          <nav aria-label={strings.nav.screens} className={classes["nav"]}>
            <ul>
              {NAVIGATION.map((one) => (
                <NavigationLink key={one.path} screen={one} path={path} />
              ))}
            </ul>
          </nav>
        ) : null}
        <ErrorBoundary>
          <AlarmBar />
        </ErrorBoundary>
      </div>
      <main ref={main} id="main" tabIndex={-1} className={classes["main"]}>
        <Outlet />
      </main>
      {keysShown ? <Keys onClose={() => setKeysShown(false)} /> : null}
    </>
  );
}
