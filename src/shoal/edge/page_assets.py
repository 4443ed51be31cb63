"""The style and the script of the status page; served by the page itself, so that it needs nobody else."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ground: #f5f6f4; --card: #ffffff; --ink: #1b2420; --soft: #56625c; --line: #d9dfdb;
  --good: #1d6b4a; --warn: #9a4d00; --bar: #2f8f68; --band: #cfe3d9; --price: #7a5195; --focus: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --ground: #12171a; --card: #1b2226; --ink: #e6ecea; --soft: #a3b0ab;
  --line: #323d42; --good: #6fcfa3; --warn: #f0b071; --bar: #4bb489; --band: #24463a; --price: #c3a0dc; --focus: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main, header, footer { max-width: 60rem; margin: 0 auto; padding: 0.75rem 1rem; }
header { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; align-items: baseline; justify-content: space-between; }
h1 { font-size: 1.25rem; margin: 0; } h2 { font-size: 1rem; margin: 0 0 0.5rem; }
.soft { color: var(--soft); } .good { color: var(--good); } .warn { color: var(--warn); font-weight: 600; }
.cards { display: grid; gap: 0.75rem; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 0.6rem;
  padding: 0.9rem 1rem; margin-bottom: 0.75rem; }
.cards section { margin: 0; } .cards + section { margin-top: 0.75rem; }
.figure { font-size: clamp(1.2rem, 5vw, 1.5rem); font-weight: 650; line-height: 1.2; }
.lead { font-size: 1.15rem; font-weight: 600; margin: 0; }
p { margin: 0.2rem 0; }
svg { width: 100%; height: auto; display: block; }
.track { fill: var(--band); } .fill { fill: var(--bar); } .mark { stroke: var(--ink); stroke-width: 1; }
.axis { stroke: var(--line); stroke-width: 1; } .label { fill: var(--soft); font-size: 11px; }
.up { fill: var(--bar); } .down { fill: var(--price); } .price { fill: none; stroke: var(--warn); stroke-width: 2; }
.level { fill: none; stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: 0.2rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
form { display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: end; margin: 0.4rem 0; }
label { display: grid; gap: 0.15rem; color: var(--soft); font-size: 0.9rem; }
input, select, button { font: inherit; padding: 0.45rem 0.7rem; border-radius: 0.4rem; border: 1px solid var(--line);
  background: var(--card); color: var(--ink); min-height: 2.75rem; }
button { background: var(--good); border-color: var(--good); color: var(--card); font-weight: 600; cursor: pointer; }
button.plain { background: var(--card); color: var(--ink); border-color: var(--soft); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
ul { list-style: none; margin: 0; padding: 0; } li { border-top: 1px solid var(--line); padding: 0.5rem 0; }
li:first-child { border: 0; }
.key { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: 0.85rem; color: var(--soft); }
.dot { display: inline-block; width: 0.8rem; height: 0.8rem; border-radius: 2px; margin-right: 0.3rem; vertical-align: -1px; }
.dot.up { background: var(--bar); } .dot.down { background: var(--price); }
.dot.price { background: var(--warn); height: 0.2rem; vertical-align: 0.2rem; }
.dot.level { background: var(--ink); height: 0.15rem; vertical-align: 0.2rem; }
"""

SCRIPT: Final = """
"use strict";
const said = document.getElementById("said");
async function renew() {
  const active = document.activeElement;
  if (document.hidden || (active && active.closest && active.closest("form"))) return;
  try {
    const answer = await fetch("/live", { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("live").replaceWith(document.importNode(fresh.getElementById("live"), true));
    said.textContent = "";
  } catch (error) {
    said.textContent = "This page no longer reaches the box; what it shows may be old.";
  }
}
setInterval(renew, 5000);
"""
