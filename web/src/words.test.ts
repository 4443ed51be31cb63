/** Every word of the page stands in a catalogue: this reads the sources and finds those that do not. */
import ts from "typescript";
import { expect, it } from "vitest";

const SPOKEN = new Set(["aria-label", "title", "placeholder", "alt", "label", "hint", "caption"]);
const SILENT = /^[\s\d.,:;/|()[\]{}·×%+›▾▲▼–-]*$/;

const SOURCES = import.meta.glob<string>(["./**/*.tsx", "!./**/*.test.tsx", "!./testing/*"], { query: "?raw", import: "default", eager: true });

function wordsIn([file, text]: [string, string]): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TSX);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isJsxText(node) && !SILENT.test(node.text)) found.push(node.text.trim());
    if (ts.isJsxAttribute(node) && SPOKEN.has(node.name.getText()) && node.initializer && ts.isStringLiteral(node.initializer) && !SILENT.test(node.initializer.text)) {
      found.push(node.initializer.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found.map((words) => `${file}: ${words}`);
}

it("keeps every word in a catalogue", () => {
  const files = Object.entries(SOURCES);
  expect(files.length).toBeGreaterThan(20);
  // The keys of a keyboard are no words.
  expect(files.flatMap(wordsIn).filter((line) => !/: g$/.test(line))).toEqual([]);
});
