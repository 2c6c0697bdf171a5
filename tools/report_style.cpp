#include "tools/report_style.h"

namespace cutis {

const std::string_view kReportStyle = R"css(
:root { color-scheme: light; --ink: #1c2632; --soft: #566372; --line: #e1e6ec; --paper: #ffffff; --ground: #f5f7f9;
  --accent: #0b5c9e; --tint: #e8f1f9; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif; }
main, header > div, footer > div { max-width: 1160px; margin: 0 auto; padding: 0 24px; }
header { background: var(--paper); border-bottom: 1px solid var(--line); padding: 34px 0 0; }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 14px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 21px; line-height: 1.3; margin: 44px 0 4px; letter-spacing: -.005em; scroll-margin-top: 16px; }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 0 0 12px; }
a { color: var(--accent); }
.eyebrow { color: var(--accent); font-weight: 600; font-size: 13px; letter-spacing: .04em; margin: 0; }
.lead, .note { color: var(--soft); }
.lead { margin-bottom: 16px; max-width: 78ch; }
.note { font-size: 13px; margin: 10px 0 0; max-width: 90ch; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 0 0 18px; }
.facts div { min-width: 0; }
.facts dt { color: var(--soft); font-size: 12px; line-height: 1.3; }
.facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 2px 22px; border-top: 1px solid var(--line); padding: 10px 0; font-size: 14px; }
nav a { text-decoration: none; padding: 2px 0; }
nav a:hover { text-decoration: underline; }
.notice, .warning { border-radius: 8px; padding: 11px 16px; margin: 20px 0 0; overflow-wrap: anywhere; }
.notice { background: var(--tint); }
.warning { background: #fdeee4; border: 1px solid #e9a67c; color: #7a3206; }
.leaky, .is-leaky .panel > h3::after { display: inline-block; background: #fdeee4; border: 1px solid #e9a67c;
  color: #7a3206; border-radius: 4px; font-size: 11px; font-weight: 600; line-height: 1.5; padding: 0 6px; margin-left: 6px; vertical-align: 2px;
  letter-spacing: 0; white-space: nowrap; }
.range .leaky { margin-left: 0; }
.is-leaky .panel > h3::after { content: "leaky split"; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(168px, 1fr)); gap: 14px; margin: 16px 0 4px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px 15px; }
.card.first { border-color: var(--accent); box-shadow: inset 0 3px 0 var(--accent); }
.card .name { color: var(--soft); font-size: 13px; line-height: 1.35; margin: 0; }
.card .value { font-size: 29px; font-weight: 650; line-height: 1.25; margin: 3px 0 0; font-variant-numeric: tabular-nums; }
.card .range { color: var(--soft); font-size: 12.5px; margin: 0 0 9px; font-variant-numeric: tabular-nums; }
.scale { position: relative; height: 6px; border-radius: 3px; background: #e9edf2; }
.scale i, .scale b { position: absolute; top: 0; height: 6px; border-radius: 3px; }
.scale i { background: #7fb2dc; }
.scale b { width: 3px; margin-left: -1.5px; background: var(--accent); }
.grid { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; margin-top: 14px; }
.panel { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; margin: 0;
  min-width: 0; }
.panel.wide { grid-column: 1 / -1; }
.panel + .panel:not(.grid .panel) { margin-top: 16px; }
.plot { display: block; height: auto; max-width: 540px; margin: 0 auto; font-family: inherit; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 3px 16px; margin: 8px 0 0; padding: 0; font-size: 13px;
  color: var(--soft); }
.legend li { overflow-wrap: anywhere; }
.legend svg { vertical-align: middle; }
.scroll { overflow-x: auto; background: linear-gradient(90deg, #fff 30%, transparent) 0 0 / 40px 100%,
  linear-gradient(-90deg, #fff 30%, transparent) 100% 0 / 40px 100%, linear-gradient(90deg, #c9d2dc, transparent) 0 0 / 12px 100%,
  linear-gradient(-90deg, #c9d2dc, transparent) 100% 0 / 12px 100%; background-repeat: no-repeat;
  background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px 6px 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: 13px; }
tbody th { color: var(--ink); font-size: 14px; }
tr:last-child > * { border-bottom: 0; }
td small { color: var(--soft); font-size: 12px; white-space: nowrap; }
table.confusion { table-layout: fixed; font-size: 13px; min-width: calc(5.2em + var(--classes) * 3.1em); }
table.confusion th, table.confusion td { border: 2px solid var(--paper); padding: 6px 1px; text-align: center; }
table.confusion th { font-size: 12px; }
table.confusion tbody th { text-align: right; padding-right: 7px; vertical-align: middle; }
table.confusion th:first-child { width: 5.2em; }
table.confusion thead th { vertical-align: bottom; }
table.confusion.upright th:first-child { width: 9em; }
table.confusion.upright th span { writing-mode: vertical-rl; transform: rotate(180deg); display: inline-block; }
table.confusion td { line-height: 1.25; border-radius: 6px; }
table.confusion td small { display: block; font-size: 11px; color: inherit; opacity: .85; }
table.counts td.bar { width: 46%; padding-right: 18px; vertical-align: middle; }
.stack { display: flex; height: 14px; border-radius: 3px; overflow: hidden; background: #eef1f4; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; vertical-align: -1px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 14px; margin-top: 14px; }
.gallery figure { margin: 0; background: var(--paper); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.gallery img, .gallery .missing { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; background: #e4e8ed; }
.gallery .missing { display: grid; place-items: center; color: var(--soft); font-size: 13px; }
.gallery figcaption { padding: 9px 12px 11px; font-size: 13px; line-height: 1.45; overflow-wrap: anywhere; }
.gallery .id { color: var(--soft); font-size: 12px; }
.wrong { color: #a84300; font-weight: 600; }
table.settings { table-layout: fixed; }
table.settings td { text-align: left; overflow-wrap: anywhere; }
table.settings td:first-child { width: 46%; color: var(--soft); }
.columns { columns: 2; column-gap: 40px; }
.columns table { break-inside: avoid; }
pre { background: #f0f3f6; border-radius: 8px; padding: 13px 15px; margin: 0; overflow-x: auto; font: 13px/1.55 ui-monospace,
  SFMono-Regular, Menlo, Consolas, "Noto Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
pre + pre { margin-top: 8px; }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--accent); font-size: 14px; }
details dl { margin: 12px 0 0; }
details dt { font-weight: 600; }
details dd { margin: 0 0 9px; color: var(--soft); max-width: 90ch; }
details pre { margin-top: 12px; }
footer { border-top: 1px solid var(--line); margin-top: 48px; padding: 22px 0 36px; color: var(--soft); font-size: 13px; }
footer p { max-width: 100ch; overflow-wrap: anywhere; }
@media (max-width: 760px) {
  body { font-size: 15px; }
  main, header > div, footer > div { padding: 0 16px; }
  header { padding-top: 22px; }
  h1 { font-size: 24px; }
  h2 { margin-top: 36px; }
  .grid { grid-template-columns: minmax(0, 1fr); gap: 14px; }
  .panel { padding: 14px 13px; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; }
  .card { padding: 12px 13px 13px; }
  .card .value { font-size: 25px; }
  .facts { gap: 8px 22px; }
  .gallery { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; }
  .columns { columns: 1; }
  table { font-size: 13px; }
  th, td { padding: 6px 7px 6px 0; }
  table.confusion { font-size: 12px; min-width: calc(3.9em + var(--classes) * 3.2em); }
  table.confusion th { font-size: 10.5px; }
  table.confusion th:first-child { width: 4.4em; }
  table.confusion.upright th:first-child { width: 7em; }
  table.confusion td small { font-size: 10px; }
  table.counts td.bar { width: 30%; padding-right: 10px; }
  table.counts .share { display: none; }
}
@media print {
  body { background: #fff; }
  nav { display: none; }
  .panel, .card, .gallery figure { break-inside: avoid; }
}
)css";

}  // namespace cutis
