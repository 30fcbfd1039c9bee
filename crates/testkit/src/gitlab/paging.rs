use serde_json::Value;

use crate::peer::{Reply, Request};

/// Offset paging with GitLab's headers: `page` from 1, `per_page` 20 unless asked, 100 at most.
pub(super) fn page(request: &Request, all: Vec<Value>) -> Reply {
    let number = |name: &str| request.param(name).and_then(|value| value.parse::<usize>().ok());
    let per_page = number("per_page").unwrap_or(20).clamp(1, 100);
    let page = number("page").unwrap_or(1).max(1);
    let (total, pages) = (all.len(), all.len().div_ceil(per_page).max(1));
    let items: Vec<Value> = all
        .into_iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .collect();
    let beside = |page: usize| {
        if (1..=pages).contains(&page) {
            page.to_string()
        } else {
            String::new()
        }
    };
    Reply::json(200, &Value::Array(items))
        .header("x-page", page)
        .header("x-per-page", per_page)
        .header("x-next-page", beside(page + 1))
        .header("x-prev-page", beside(page - 1))
        .header("x-total", total)
        .header("x-total-pages", pages)
}
