//! A page of its own, for any browser: nothing is loaded from anywhere.

use crate::svg::escape;

const STYLE: &str = "body{margin:32px auto;max-width:1200px;padding:0 16px;color:#1f2937;background:#f9fafb;\
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif}\
svg{width:100%;height:auto}h2{margin:32px 0 8px;font-size:19px}h3{margin:16px 0 4px;font-size:15px}\
table{border-collapse:collapse;background:#fff;border:1px solid #e5e7eb}\
td,th{padding:5px 14px;border-bottom:1px solid #e5e7eb;text-align:left;vertical-align:top}\
td:first-child{color:#6b7280;white-space:nowrap}ol{margin:0;padding-left:24px}.lost{color:#d92d20}\
.verdict{margin:0 0 16px;padding:14px 20px;border-radius:10px;font-size:17px;font-weight:600;background:#fef2f2;\
color:#b42318;border:1px solid #fecaca}.verdict.passed{background:#f0fdf4;color:#15803d;border-color:#bbf7d0}\
.finding{margin:12px 0;padding:12px 20px;background:#fff;border:1px solid #e5e7eb;border-left:5px solid #d92d20;border-radius:8px}\
.finding h3{margin:0 0 6px;font-size:16px}.finding p{margin:4px 0}.finding code{margin-left:8px;font-size:12.5px;color:#6b7280;\
font-weight:400}.finding .do{color:#15803d}.soft{color:#6b7280;font-size:13.5px}pre{background:#fff;border:1px solid #e5e7eb;\
padding:12px 16px;overflow-x:auto}";

/// The page with this body.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>{}</title><style>{STYLE}</style>\n{body}\n</html>\n",
        escape(title)
    )
}
