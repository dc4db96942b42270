import * as fc from "fast-check";
import { expect, test } from "vitest";
import { redact, redactedMark } from "../../src/server/audit/redact.ts";

const base64 = "MIIEowIBAAKCAQEA0Z3VS5JJcds3xfn0ygWyF8PbnGy0AHB7MhgHcTz6sE2I2yPB";
const pem = (kind: string) => `-----BEGIN ${kind}-----\n${base64}\n${base64}\nAbC=\n-----END ${kind}-----`;
// Put together here, so that no scanner takes this file for a leak.
const anthropic = `sk-ant-${"api03-" + "x1Y2".repeat(12)}`;
const github = `ghp_${"a1B2".repeat(9)}`;

test.each([
  ["a private key block", `before\n${pem("RSA PRIVATE KEY")}\nafter`, `before\n${redactedMark}\nafter`],
  ["an OpenSSH key", `x ${pem("OPENSSH PRIVATE KEY")} y`, `x ${redactedMark} y`],
  ["a key block in JSON", JSON.stringify(pem("PRIVATE KEY")), `"${redactedMark}"`],
  [
    "two key blocks",
    `${pem("EC PRIVATE KEY")}\nand\n${pem("PRIVATE KEY")}`,
    `${redactedMark}\nand\n${redactedMark}`,
  ],
  ["a key block that was cut", `-----BEGIN PRIVATE KEY-----\n${base64}\n${base64}\nAb`, redactedMark],
  ["an Anthropic key", `key ${anthropic}.`, `key ${redactedMark}.`],
  ["an AWS access key id", "id AKIAIOSFODNN7EXAMPLE here", `id ${redactedMark} here`],
  [
    "an AWS secret",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG",
    `aws_secret_access_key = ${redactedMark}`,
  ],
  ["a GitHub token", `git clone with ${github}`, `git clone with ${redactedMark}`],
  ["a fine-grained GitHub token", `github_pat_${"a1_".repeat(10)} x`, `${redactedMark} x`],
  ["a bearer header", "Authorization: Bearer abc.def", `Authorization: Bearer ${redactedMark}`],
  [
    "a basic header in curl",
    `curl -H "authorization: basic dXNlcjpw" x`,
    `curl -H "authorization: basic ${redactedMark}" x`,
  ],
  ["a bearer token by itself", `bearer ${"t0k3n".repeat(5)}==`, `bearer ${redactedMark}`],
  ["password=", "mysql password=hunter2&x=1", `mysql password=${redactedMark}&x=1`],
  ["a prefixed variable", "PGPASSWORD=hunter2 psql", `PGPASSWORD=${redactedMark} psql`],
  ["a YAML password", "password: hunter2", `password: ${redactedMark}`],
  ["a quoted password", `password="correct horse" x`, `password="${redactedMark}" x`],
  ["a JSON password", `{"db_password": "hunter2", "a": 1}`, `{"db_password": "${redactedMark}", "a": 1}`],
  ["JSON in JSON", `"{\\"password\\":\\"hunter2\\"}"`, `"{\\"password\\":\\"${redactedMark}\\"}"`],
  ["an option", "mysqldump --password hunter2 -h db", `mysqldump --password ${redactedMark} -h db`],
  ["an option with =", "mysqldump --password=hunter2 -h db", `mysqldump --password=${redactedMark} -h db`],
  ["a token variable", "export CI_TOKEN=abc", `export CI_TOKEN=${redactedMark}`],
  ["a URL's password", "https://ana:hunter2@example.org/x", `https://${redactedMark}@example.org/x`],
  [
    "a URL's user that is a token",
    `https://${github}:x@example.org/x`,
    `https://${redactedMark}@example.org/x`,
  ],
  ["a password with brackets", "password=a[b]c&x", `password=${redactedMark}&x`],
  ["a quoted password with a backslash", `password="a\\b" x`, `password="${redactedMark}" x`],
  ["a token after an escaped line break", `"key:\\n${anthropic}"`, `"key:\\n${redactedMark}"`],
  ["a shadow line", `root:$6$salt$${"h4sh".repeat(20)}:19000:0`, `root:${redactedMark}:19000:0`],
])("%s is redacted", (_, text, expected) => {
  expect(redact(text)).toBe(expected);
});

test.each([
  "Failed password for root from 192.0.2.1 port 22 ssh2",
  "the bearer of bad news",
  "Password: \n",
  "http://example.org:8080/a@b",
  "systemd-ask-password.path loaded active waiting",
  "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
  "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
  "SHA256:uNiVztksCsDhcc0u9e8BrVt8MkZ/Pk5mLqMJk3lVSts (ED25519)",
  "Filesystem      Size  Used Avail Use% Mounted on",
  "tokens: 1234 in, 56 out",
  "user@host:/path:with:colons",
  "PWD=/root OLDPWD=/",
])("%j is left as it is", (text) => {
  expect(redact(text)).toBe(text);
});

const pieces = fc.constantFrom(
  "-----BEGIN ",
  "RSA ",
  "PRIVATE KEY-----",
  "-----END ",
  "-----",
  base64,
  "\n",
  " ",
  "\t",
  "\\n",
  '"',
  "'",
  "\\",
  "=",
  ":",
  "://",
  "@",
  "/",
  ";",
  "&",
  ",",
  "password",
  "PASSWORD",
  "secret",
  "api_key",
  "_token",
  "authorization",
  "Bearer ",
  "basic ",
  "--token ",
  "sk-ant-",
  "AKIA",
  "ghp_",
  "github_pat_",
  "$6$",
  redactedMark,
  "[redacted",
  "abcdefghijklmnopqrstuvwxyz0123456789",
  "x",
  "A1",
  "AKIAIOSFODNN7EXAMPLE",
  "user",
  "[",
  "]",
  "<",
  ">",
  "|",
  "Proc-Type: 4",
  "-",
);

test("redacting twice changes nothing more, whatever the text", () => {
  const text = fc
    .array(fc.oneof({ weight: 9, arbitrary: pieces }, fc.string()), { maxLength: 40 })
    .map((all) => all.join(""));
  fc.assert(
    fc.property(text, (value) => {
      const once = redact(value);
      expect(redact(once)).toBe(once);
    }),
    { numRuns: 20_000 },
  );
});

const big = 5 * 1024 * 1024;
const filled = (piece: string) => piece.repeat(Math.ceil(big / piece.length)).slice(0, big);

// Quadratic time would be hours here: that the test ends is the assertion.
test.each([
  ["beginnings of keys", filled("-----BEGIN RSA PRIVATE KEY-----")],
  ["beginnings far from one end", `${filled("-----BEGIN PRIVATE KEY-----")}-----END PRIVATE KEY-----`],
  ["beginnings and broken ends", filled("-----BEGIN PRIVATE KEY----------END ")],
  ["a beginning and base64", `-----BEGIN PRIVATE KEY-----\n${filled("QUJD")}`],
  ["a beginning and empty lines", `-----BEGIN PRIVATE KEY-----${filled("\n")}`],
  ["a beginning and escaped empty lines", `-----BEGIN PRIVATE KEY-----${filled("\\n")}`],
  ["beginnings and spaces", filled(`-----BEGIN PRIVATE KEY-----${" ".repeat(100)}`)],
  ["dashes", filled("-")],
  ["begin words", filled("-----BEGIN A B C ")],
  ["one quoted password without an end", `password="${filled("a")}`],
  ["quoted passwords without an end", filled('password="')],
  ["one endless password", `password=${filled("a")}`],
  ["passwords", filled("password")],
  ["password and spaces", filled("password    ")],
  ["authorization words", filled("authorization: bearer ")],
  ["one endless bearer", `Bearer ${filled("a")}`],
  ["bearers", filled("bearer ")],
  ["schemes", filled("://")],
  ["schemes with users", filled("://a:")],
  ["one scheme and colons", `://${filled("a:")}`],
  ["marks behind passwords", filled(`password=${redactedMark}`)],
  ["brackets in a password", `password=${filled("[")}`],
  ["passwords and brackets", filled("password=[")],
  ["key prefixes", filled("sk-ant-ghp_AKIAgithub_pat_")],
  ["hash prefixes", filled("$6$")],
  ["one letter", filled("a")],
  ["spaces", filled(" ")],
  ["quotes", filled('"')],
  ["backslashes", filled("\\")],
  ["lone surrogates", filled("\ud800")],
])("5 MB of %s are redacted in linear time", { timeout: 120_000 }, (_, text) => {
  expect(typeof redact(text)).toBe("string");
});
