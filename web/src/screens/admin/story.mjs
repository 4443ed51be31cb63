/**
 * An administrator adds a user and sees it in the audit, gives a device its secret, and looks at every part of administration.
 *
 * The plant's door is open when the story begins, and open again when it ends.
 */
const ADMIN = ["story-admin", "a long password for the story"];
const ADDED = "story-vera";
const SPARE = "gateway-spare";
const TABS = ["programs", "markets", "feeds", "system"];

/** Wait until the plant asks nobody to sign in: it believes what it knows of that for some seconds. */
async function openDoor(api) {
  for (let tries = 0; tries < 150; tries += 1) {
    if (!(await api("GET", "/api/session")).sign_in) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("the door stays closed");
}

export default {
  name: "admin",
  async run({ page, url, api, plant, signIn, axe, picture, until }) {
    // through the plant's own door, which then closes at once
    await api("PUT", `/api/admin/users/${ADMIN[0]}`, { roles: ["admin"], password: ADMIN[1] });
    try {
      await signIn(...ADMIN);
      await page.goto(url("/admin?tab=users"));
      await page.locator('[data-testid="admin-users"][data-state="ready"]').waitFor();

      await page.getByRole("button", { name: "Add a user" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("textbox", { name: /^Name/ }).fill(ADDED);
      await dialog.getByRole("checkbox", { name: /^operator/ }).check();
      await dialog.getByRole("button", { name: "Make up a password" }).click();
      await dialog.getByText("It is not shown again.").waitFor();
      await dialog.getByRole("button", { name: "Add this user" }).click();
      await page.getByText(`${ADDED} is saved.`).waitFor();
      await axe("admin-users");
      await picture("admin-users");

      await page.getByRole("tab", { name: "Devices" }).click();
      await page.locator('[data-testid="admin-devices"][data-state="ready"]').waitFor();
      await axe("admin-devices");
      await picture("admin-devices");
      // a gateway with no site behind it: no home falls silent for its new secret
      await page.getByLabel("Search by name").fill(SPARE);
      await page.keyboard.press("Enter");
      await page.getByRole("button", { name: new RegExp(`^(Enrol|New secret for) ${SPARE}$`) }).click();
      const sure = page.getByRole("button", { name: "Make a new secret" });
      const secret = page.getByTestId("device-secret");
      await sure.or(secret).first().waitFor();
      if (await sure.isVisible()) await sure.click();
      await secret.waitFor();
      const shown = (await secret.textContent()) ?? "";
      if (shown.length !== 43) throw new Error(`a secret of ${shown.length} characters`);
      await page.getByRole("button", { name: "I have noted it" }).click();
      await until("the secret stays on the page", (text) => !document.documentElement.outerHTML.includes(text), shown);

      for (const tab of TABS) {
        await page.goto(url(`/admin?tab=${tab}`));
        await page.locator('section[data-testid]').first().waitFor();
        await until(`${tab} is there`, () => document.querySelectorAll('section[data-state="loading"]').length === 0 && document.querySelectorAll("section[data-testid]").length > 0);
        await axe(`admin-${tab}`);
        await picture(`admin-${tab}`);
      }
      await page.getByTestId("health").getByText("up", { exact: true }).first().waitFor();

      await page.getByRole("tab", { name: "Users" }).click();
      await page.getByRole("button", { name: `Remove ${ADDED}` }).click();
      await page.getByRole("button", { name: "Remove this user" }).click();
      await page.getByText(`${ADDED} is removed.`).waitFor();

      await page.goto(url(`/admin?tab=audit&about=${ADDED}`));
      const lines = page.getByTestId("admin-audit").getByRole("row", { name: new RegExp(ADDED) });
      await lines.getByText("removed").first().waitFor();
      await lines.getByText("added").first().waitFor();
      await page.goto(url("/admin?tab=audit&kind=devices"));
      await page.getByTestId("admin-audit").getByText("device enrolled").first().waitFor();
      await page.goto(url("/admin?tab=audit"));
      await page.locator('[data-testid="admin-audit"][data-state="ready"]').waitFor();
      await axe("admin-audit");
      await picture("admin-audit");
      await page.goto("about:blank"); // before the session ends
    } finally {
      await plant("remove-user", ADDED).catch(() => undefined); // it is gone already where all went well
      await plant("remove-user", ADMIN[0]);
      await openDoor(api);
    }
  },
};
