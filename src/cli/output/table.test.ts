import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { cellText, printable } from './cell.ts';
import { duration } from './duration.ts';
import { type Column, type Field, renderFields, renderTable } from './table.ts';

interface Row {
  name: string;
  ips: string[];
  cookie: bigint | null;
}

const COLUMNS: readonly Column<Row>[] = [
  { head: 'NAME', cell: (row) => row.name },
  { head: 'IPS', cell: (row) => row.ips, tone: (row) => (row.ips.length === 0 ? 'bad' : undefined) },
  { head: 'NETNS COOKIE', cell: (row) => row.cookie, wide: true },
];

const ROWS: Row[] = [
  { name: 'productpage', ips: ['10.0.0.1', 'fd00::1'], cookie: 18446744073709551615n },
  { name: 'a', ips: [], cookie: null },
];

describe('a table', () => {
  it('has upper-case heads, three blanks between columns and none at the end', () => {
    const expected = ['NAME          IPS', 'productpage   10.0.0.1,fd00::1', 'a             <none>', ''].join(
      '\n',
    );
    assert.equal(renderTable(COLUMNS, ROWS, { wide: false, colour: false }), expected);
  });

  it('shows wide columns when asked', () => {
    const expected = [
      'NAME          IPS                NETNS COOKIE',
      'productpage   10.0.0.1,fd00::1   18446744073709551615',
      'a             <none>             <none>',
      '',
    ].join('\n');
    assert.equal(renderTable(COLUMNS, ROWS, { wide: true, colour: false }), expected);
  });

  it('keeps its columns in line when cells are coloured', () => {
    const coloured = renderTable(COLUMNS, ROWS, { wide: true, colour: true });
    assert.ok(coloured.includes('\u001b[31m<none>\u001b[39m             <none>'));
    assert.equal(
      stripVTControlCharacters(coloured),
      renderTable(COLUMNS, ROWS, { wide: true, colour: false }),
    );
  });

  it('prints no control character of a cell to the terminal', () => {
    assert.equal(printable('a\u001b[2Jb\r\nc\u202ed\te'), 'a\\u001b[2Jb\\u000d\\nc\\u202ed e');
    assert.equal(cellText(['x\u0007', 2, 3n]), 'x\\u0007,2,3');
  });

  it('shows false and zero as they are, and nothing as <none>', () => {
    assert.deepEqual([false, 0, 0n, '', null, undefined, []].map(cellText), [
      'false',
      '0',
      '0',
      '<none>',
      '<none>',
      '<none>',
      '<none>',
    ]);
  });
});

describe('a record', () => {
  it('lines its values up behind the longest label', () => {
    const fields: readonly Field<Row>[] = [
      { label: 'Name', value: (row) => row.name },
      { label: 'Netns cookie', value: (row) => row.cookie },
      { label: 'Hidden', value: () => 'x', wide: true },
    ];
    assert.equal(
      renderFields(fields, ROWS[1] as Row, { wide: false, colour: false }),
      'Name:           a\nNetns cookie:   <none>\n',
    );
  });
});

describe('a duration', () => {
  it('is written in its two largest units', () => {
    const minute = 60_000;
    const cases: [number, string][] = [
      [-5, '0s'],
      [42_900, '42s'],
      [5 * minute + 12_000, '5m12s'],
      [5 * minute, '5m'],
      [187 * minute, '3h7m'],
      [52 * 60 * minute, '2d4h'],
    ];
    for (const [milliseconds, text] of cases) assert.equal(duration(milliseconds), text);
  });
});
