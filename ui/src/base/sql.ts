// SQL for reading: tokens to colour, and line breaks before the clauses. Not a parser: whatever it
// does not know passes through unchanged, so the text stays the statement.

export type SqlToken = { kind: 'keyword' | 'string' | 'number' | 'comment' | 'text'; text: string };

const TOKEN =
  /(--[^\n]*|\/\*[\s\S]*?\*\/)|('(?:[^']|'')*'?)|("(?:[^"]|"")*"?|`[^`]*`?)|(\b\d+(?:\.\d+)?\b)|([A-Za-z_][A-Za-z0-9_$]*)|(\s+)|([\s\S])/g;
const KEYWORDS = new Set(
  (
    'SELECT FROM WHERE AND OR NOT IN IS NULL INSERT INTO VALUES UPDATE SET DELETE JOIN LEFT RIGHT INNER ' +
    'OUTER FULL CROSS ON AS GROUP BY ORDER HAVING LIMIT OFFSET UNION ALL DISTINCT CASE WHEN THEN ELSE END ' +
    'EXISTS BETWEEN LIKE ILIKE ASC DESC RETURNING WITH FOR SHARE CONFLICT DO NOTHING COUNT SUM AVG MIN MAX ' +
    'CREATE TABLE INDEX ALTER DROP BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE USING DEFAULT TRUE FALSE CAST OVER PARTITION'
  ).split(' '),
);

export function sqlTokens(text: string): SqlToken[] {
  const tokens: SqlToken[] = [];
  const add = (kind: SqlToken['kind'], part: string) => {
    const last = tokens[tokens.length - 1];
    if (last && last.kind === kind) last.text += part;
    else tokens.push({ kind, text: part });
  };
  for (const match of text.matchAll(TOKEN)) {
    const [part, comment, string, , number, word] = match;
    if (comment !== undefined) add('comment', part);
    else if (string !== undefined) add('string', part);
    else if (number !== undefined) add('number', part);
    else if (word !== undefined && KEYWORDS.has(word.toUpperCase())) add('keyword', part);
    else add('text', part);
  }
  return tokens;
}

const CLAUSE =
  /^(FROM|WHERE|VALUES|SET|(?:LEFT|RIGHT|INNER|FULL|CROSS)(?: OUTER)? JOIN|JOIN|GROUP BY|ORDER BY|HAVING|LIMIT|RETURNING|UNION(?: ALL)?|ON CONFLICT)\b/i;

/** A line per clause at the outer level; text inside parentheses, quotes and comments stays. */
export function formatSql(text: string): string {
  const flat = text.trim();
  let depth = 0;
  let result = '';
  let index = 0;
  while (index < flat.length) {
    const rest = flat.slice(index, index + 40);
    const quoted = /^(?:'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\n]*|\/\*[\s\S]*?\*\/)/.exec(
      /^['"`/-]/.test(rest) ? flat.slice(index) : '',
    );
    if (quoted) {
      result += quoted[0];
      index += quoted[0].length;
      continue;
    }
    const char = flat[index] as string;
    if (char === '(') depth++;
    if (char === ')') depth--;
    const startsWord = index > 0 && /\s/.test(flat[index - 1] as string);
    if (depth === 0 && startsWord && CLAUSE.test(rest)) result = `${result.trimEnd()}\n`;
    const word = startsWord && depth === 0 ? CLAUSE.exec(rest)?.[0] : undefined;
    result += word ?? char;
    index += (word ?? char).length;
  }
  return result;
}
