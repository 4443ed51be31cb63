/** The homeowner's page: who it is, and the home. It shares words, signs and the socket with the plant's page, and nothing heavy. */
import { StrictMode, useEffect, type ReactElement } from "react";
import { createRoot } from "react-dom/client";
import { SessionProvider } from "../app/session";
import { applyTheme, useDark } from "../app/theme";
import { startLive } from "../live/store";
import "../ui/page.css";
import "../ui/tokens.css";
import { Home } from "./Home";

/** The socket opens after it is known who reads. */
function LiveHome(): ReactElement {
  useDark(); // the document follows the system from light to dark and back
  useEffect(() => startLive(), []);
  return <Home asked={new URLSearchParams(window.location.search).get("site")} />;
}

applyTheme();
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <SessionProvider>
        <LiveHome />
      </SessionProvider>
    </StrictMode>,
  );
}
