//! Names of container images.

/// The full name of a version: an image of its own, or a tag or digest of the repository that is in use.
///
/// None when there can be no image of that name. Whether there is one is the registry's to say: the nodes ask it, and
/// what they hear comes back as trouble of the pods.
pub(crate) fn named(present: &str, version: &str) -> Option<String> {
    let digest = version.strip_prefix('@').unwrap_or(version);
    let full = match () {
        () if is_digest(digest) => format!("{}@{digest}", repository(present)),
        () if version.contains(['/', '@', ':']) => version.to_owned(),
        () => format!("{}:{version}", repository(present)),
    };
    is_image(&full).then_some(full)
}

/// Without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(before, _)| before);
    match image.rsplit_once(':') {
        // A port has a path behind it.
        Some((before, tag)) if !tag.contains('/') => before,
        _ => image,
    }
}

/// `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, as registries have it.
fn is_image(image: &str) -> bool {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let repository = repository(rest);
    let tag = rest[repository.len()..].strip_prefix(':');
    let (host, path) = match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, repository),
    };
    let is_host = |host: &str| {
        host.split(['.', ':'])
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    };
    host.is_none_or(is_host)
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

fn is_component(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    edge(part.chars().next()) && edge(part.chars().last()) && part.chars().all(plain)
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hash)| {
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return false,
        };
        let hex = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
        hash.len() == length && hash.chars().all(hex)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn a_version_is_an_image_a_tag_or_a_digest() {
        let present = "registry.example:5000/shop/checkout:v1";
        let named = |version: &str| named(present, version);
        let ours = |rest: &str| Some(format!("registry.example:5000/shop/checkout{rest}"));
        assert_eq!(named("v2"), ours(":v2"));
        assert_eq!(named(DIGEST), ours(&format!("@{DIGEST}")));
        assert_eq!(named(&format!("@{DIGEST}")), ours(&format!("@{DIGEST}")));
        for full in [
            "nginx:1.27",
            "library/nginx",
            "localhost/shop:v1",
            "registry.example:5000/shop/checkout:v2",
            &format!("ghcr.example/shop/checkout:v2@{DIGEST}"),
        ] {
            assert_eq!(named(full), Some(full.to_owned()), "{full}");
        }
    }

    #[test]
    fn the_repository_in_use_is_found_behind_tag_digest_and_port() {
        for (image, found) in [
            ("nginx", "nginx"),
            ("nginx:1", "nginx"),
            ("a.example:5000/nginx", "a.example:5000/nginx"),
            ("a.example:5000/nginx:1", "a.example:5000/nginx"),
            (&format!("a.example/nginx:1@{DIGEST}"), "a.example/nginx"),
        ] {
            assert_eq!(repository(image), found);
        }
    }

    #[test]
    fn what_no_registry_can_have_is_no_version() {
        for wrong in [
            "",
            "-v9",
            "v 9",
            "v9!",
            "Shop/Checkout:v1",
            "shop//a:v1",
            "shop/a:",
            "shop/a@sha256:12",
            "shop:v1:v2",
            &"x".repeat(129),
        ] {
            assert_eq!(named("shop/checkout:v1", wrong), None, "{wrong}");
        }
    }
}
