// Asks @phala/dcap-qvl, which takes the root and the time as arguments, about
// the evidence in a folder, each quote under the development root beside it and
// under Intel's, and compares what it says with what cases.json says it must.
//
// Run by ../compat/attestation.sh, as: node judge.js FOLDER, with the package in NODE_PATH.
"use strict";
const fs = require("fs");
const path = require("path");
const { QuoteVerifier } = require("@phala/dcap-qvl");

const folder = process.argv[2];
const cases = JSON.parse(fs.readFileSync(path.join(folder, "cases.json"), "utf8"));

function ask(verifier, c) {
  const quote = fs.readFileSync(path.join(folder, c.name + ".quote"));
  const collateral = JSON.parse(fs.readFileSync(path.join(folder, c.name + ".json"), "utf8"));
  try {
    const report = verifier.verify(quote, collateral, c.time);
    return { status: report.status, advisories: (report.advisory_ids || []).join(" ") };
  } catch (e) {
    return { refused: e.message };
  }
}

// agrees says whether a verdict is the one that is wanted: the same status and
// advisories, or a refusal that speaks of the right thing.
function agrees(got, want) {
  if (want.refused) return got.refused !== undefined && got.refused.includes(want.refused);
  return got.status === want.status && got.advisories === (want.advisories || []).join(" ");
}

let asked = 0;
let wrong = 0;
function check(c, whose, verifier, want) {
  const got = ask(verifier, c);
  const right = agrees(got, want);
  asked++;
  if (!right) wrong++;
  console.log(`${right ? "ok  " : "FAIL"} ${c.name} under ${whose} root: ${JSON.stringify(got)}`);
}

for (const c of cases) {
  const root = fs.readFileSync(path.join(folder, c.name + ".root"));
  check(c, "the development", QuoteVerifier.newWithRootCa(root), c.development);
  check(c, "Intel's", QuoteVerifier.newProd(), c.intel);
}
if (asked === 0 || wrong > 0) {
  console.log(`${wrong} of ${asked} verdicts are wrong`);
  process.exit(1);
}
console.log(`all ${asked} verdicts are as expected`);
