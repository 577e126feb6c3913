"""The style sheet of the report: readable on a phone and on paper, light and dark."""

CSS = """\
:root { color-scheme: light dark; --text: #1c1e21; --back: #ffffff; --soft: #5b6168; --line: #d9dde1; --box: #f5f6f8;
  --warn: #fff3cd; --warn-text: #664d03; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e6e9; --back: #16181b; --soft: #a0a7af; --line: #3a3f45; --box: #202327;
    --warn: #4d3d08; --warn-text: #ffe69c; }
}
body { margin: 0; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0.5rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 0.75rem; padding-bottom: 0.25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.25rem 0 0.5rem; }
ul { padding-left: 1.25rem; margin: 0.5rem 0; }
li { margin: 0.3rem 0; }
.banner { background: var(--warn); color: var(--warn-text); padding: 0.6rem 0.9rem;
  border-radius: 6px; font-weight: 600; }
.scroll { overflow-x: auto; margin: 0.5rem 0; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
td:last-child { overflow-wrap: anywhere; }
.why { color: var(--soft); }
.range, .why { display: inline-block; min-width: 13rem; }
figure { margin: 1.5rem 0 2rem; }
figure h3 { margin-bottom: 0.4rem; }
/* Figures are drawn on white in both schemes. */
figure img { display: block; width: 100%; max-width: 46rem; height: auto; background: #ffffff; border-radius: 6px; }
figcaption { color: var(--soft); font-size: 0.9rem; margin-top: 0.4rem; }
details { background: var(--box); border-radius: 6px; padding: 0.5rem 0.9rem; margin: 0.6rem 0; }
summary { cursor: pointer; font-weight: 600; }
"""
