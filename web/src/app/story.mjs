/**
 * The shell on a bad day: the interface dies, or falls silent, while somebody watches. The page says at once that what
 * it shows is old, keeps showing it, and goes on by itself from where it was, without being loaded again.
 */
const presence = (wanted) => [wanted];
const shown = ([wanted]) => document.querySelector('[data-testid="connection"]')?.getAttribute("data-presence") === wanted;
const later = (held) => Number(document.querySelector('[data-testid="now-clock"]')?.getAttribute("data-server-ms")) > held;
const serverMs = async (page) => Number(await page.getByTestId("now-clock").getAttribute("data-server-ms"));

/** What the browser itself logs of a server that is away; anything else stays a fault of the page. */
const AWAY = /net::ERR_|WebSocket connection to .* failed|status of 50\d/;
function forgive(faults) {
  const left = faults.filter((one) => !AWAY.test(one));
  faults.splice(0, faults.length, ...left);
}

export default [
  {
    name: "api-dies",
    async run({ page, open, until, plant, axe, picture, faults }) {
      await open("/");
      await page.getByTestId("sentence").waitFor();
      await page.locator('[data-testid="map"] canvas').first().waitFor();
      await page.evaluate(() => {
        window.notLoadedAgain = true;
      });
      await plant("stop-api");
      await until("the page does not say that the connection is lost", shown, presence("reconnecting"));
      const bar = page.getByTestId("alarm-bar");
      await bar.getByText("Connection lost, trying again.").waitFor();
      // What was known stays in view; nothing of it passes for the present.
      await page.getByTestId("sentence").waitFor();
      const before = await serverMs(page);
      await axe("api-dies");
      await picture("api-dies");
      await plant("start-api");
      await until("the page does not heal", shown, presence("live"));
      await until("the plant's clock stands still after the connection is back", later, before);
      await bar.getByText("Connection lost").waitFor({ state: "detached" });
      if (!(await page.evaluate(() => window.notLoadedAgain === true))) throw new Error("the page was loaded again");
      forgive(faults);
    },
  },
  {
    name: "api-silent",
    async run({ page, open, until, plant, picture, faults }) {
      await open("/");
      const before = await serverMs(page);
      await plant("freeze-api");
      await until("the page does not say that its figures are old", shown, presence("stale"));
      await page.getByTestId("alarm-bar").getByText("What is shown is old.").waitFor();
      await picture("api-silent");
      await plant("thaw-api");
      await until("the page does not go on", shown, presence("live"));
      await until("the plant's clock stands still", later, before);
      forgive(faults);
    },
  },
  {
    // Here one goes on without a word, everywhere else the session ends: of the same name, on another screen.
    name: "password",
    async run({ page, signIn, url, api, plant, context, until, axe, picture }) {
      const [name, before, after] = ["story-pat", "a long password for the story", "another password for the story"];
      await plant("add-user", name, before, ["viewer"]);
      for (let tries = 0; (await api("GET", "/api/session")).mode !== null; tries += 1) {
        if (tries > 60) throw new Error("the door stays open");
        await new Promise((done) => setTimeout(done, 250));
      }
      const enter = async (reader) => {
        await reader.getByLabel("Name").fill(name);
        await reader.getByLabel("Password").fill(before);
        await reader.getByRole("button", { name: "Sign in" }).click();
        await reader.locator('[data-testid="connection"][data-presence="live"]').waitFor();
      };
      await signIn(name, before);
      const other = await context();
      await other.goto(url("/"));
      await enter(other);
      await page.evaluate(() => {
        window.notLoadedAgain = true;
      });
      await page.getByTestId("user-menu").click();
      await page.getByRole("button", { name: "Change password" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel("Old password").fill(before);
      await dialog.getByLabel("New password", { exact: true }).fill("too short");
      await dialog.getByRole("button", { name: "Change password" }).click();
      await dialog.getByText("These are 9 characters").waitFor();
      await axe("password");
      await picture("password");
      for (const label of ["New password", "New password again"]) await dialog.getByLabel(label, { exact: true }).fill(after);
      await dialog.getByRole("button", { name: "Change password" }).click();
      await page.getByTestId("password-changed").waitFor();
      await other.getByText("Your session has ended.").waitFor();
      await dialog.getByRole("button", { name: "Close" }).last().click();
      await until("the page does not go on", shown, presence("live"));
      if ((await page.getByRole("dialog").count()) > 0) throw new Error("the one who changed the password has to sign in again");
      if (!(await page.evaluate(() => window.notLoadedAgain === true))) throw new Error("the page was loaded again");
    },
  },
  {
    name: "phone",
    phone: true,
    async run({ page, open, picture }) {
      await open("/");
      await page.getByTestId("sentence").waitFor();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wide > 0) throw new Error(`the page is ${wide} px wider than a phone`);
      await picture();
    },
  },
];
