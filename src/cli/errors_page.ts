/** Writes docs/errors.md from the catalogue: `node --conditions=source src/cli/errors_page.ts`. */
import { writeFileSync } from 'node:fs';
import { ERRORS } from '../errors.ts';

export const ERRORS_PAGE = new URL('../../docs/errors.md', import.meta.url);

const HEAD = `# Error codes

Every error that Shunt reports carries one of these codes. A code is stable: scripts and alerts may match on it. The
message that comes with it names what it happened to; the line \`fix:\` says what to do, here or more exactly there.

On the command line an error is one block on stderr:

\`\`\`
error: <what happened> [SHUNT_E_…]
fix: <what to do>
\`\`\`

With \`-o json\` it is one JSON object on stderr, \`{"error": {"code", "message", "fix"}}\`, and \`log\` beside them when the
kernel's verifier refused a program. The agent's API and its log use the same three fields. An error of the operating
system or of libbpf that has no code here keeps its own name, such as \`EACCES\` or \`LIBBPF_TOO_OLD\`.

`;

/** The page as it should stand in docs/. */
export function renderErrorsPage(): string {
  return (
    HEAD +
    Object.entries(ERRORS)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([code, { what, fix }]) => `## ${code}\n${sentence(what)}\n\n**Fix:** ${sentence(fix)}\n`)
      .join('\n')
  );
}

function sentence(text: string): string {
  const first = text.charAt(0);
  // Code and option names keep their case.
  const start = /^[a-z]/.test(text) ? first.toUpperCase() + text.slice(1) : text;
  return /[.!?…]$/.test(start) ? start : `${start}.`;
}

if (import.meta.main) writeFileSync(ERRORS_PAGE, renderErrorsPage());
