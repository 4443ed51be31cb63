/** The page of the plant: light or dark, who reads, the questions it asks, and the screens. */
import { MantineProvider, createTheme } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode, useEffect, type ReactElement } from "react";
import { createRoot } from "react-dom/client";
import { makeQueryClient } from "./api/queries";
import { makeRouter } from "./app/router";
import { SessionProvider } from "./app/session";
import { applyTheme, useDark } from "./app/theme";
import { startLive } from "./live/store";
import { ConfirmProvider } from "./ui/Confirm";
import "./ui/mantine.css";
import "./ui/tokens.css";
import "./ui/page.css";

const theme = createTheme({
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif',
  primaryColor: "teal",
  respectReducedMotion: true,
});
const router = makeRouter();
const queries = makeQueryClient();

/** The socket opens with the screens, after it is known who reads. */
function Screens(): ReactElement {
  useEffect(() => startLive(), []);
  return <RouterProvider router={router} />;
}

function Page(): ReactElement {
  const dark = useDark();
  return (
    <MantineProvider theme={theme} forceColorScheme={dark ? "dark" : "light"}>
      <QueryClientProvider client={queries}>
        <SessionProvider>
          <ConfirmProvider>
            <Screens />
          </ConfirmProvider>
        </SessionProvider>
      </QueryClientProvider>
    </MantineProvider>
  );
}

applyTheme();
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Page />
    </StrictMode>,
  );
}
