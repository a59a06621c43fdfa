"""`footfall site`: the sites file, which lists the sites whose events are taken."""

from __future__ import annotations

import json

import click

from infra.commands.flags import SettingsCommand, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings


@click.group()
def site() -> None:
    """Add, list and check the sites that are counted."""


@site.command(cls=SettingsCommand)
@click.argument("domain")
@click.option("--timezone", default="UTC", show_default=True, help="Time zone, such as Europe/Berlin.")
@click.option("--search-parameter", "search", multiple=True, help="URL parameter of the site's search; repeatable.")
@click.option("--origin", "origins", multiple=True, help="Only pages of this origin may send; repeatable.")
@click.option("--id", "ids", multiple=True, help="Id or public key by which another tracker names it; repeatable.")
@click.option("--write-key", "write_keys", multiple=True, help="Secret key of another tracker on a server; repeatable.")
@with_json
@with_settings
def add(
    settings: Settings,
    domain: str,
    timezone: str,
    search: tuple[str, ...],
    origins: tuple[str, ...],
    ids: tuple[str, ...],
    write_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Add DOMAIN with a new secret key, and print what to paste into its pages. Running servers notice at once."""
    from infra import addresses
    from ingest import sites

    fields: dict[str, object] = {"key": sites.new_key(), "timezone": timezone}
    lists = {"search_parameters": search, "origins": origins, "ids": ids, "write_keys": write_keys}
    fields |= {name: list(values) for name, values in lists.items() if values}
    try:
        added = sites.add(settings.sites, domain, **fields)
        known = sites.Sites(settings.sites).get(domain.strip().lower().rstrip("."))
    except sites.SitesError as error:
        raise Failed(str(error)) from error
    assert known is not None
    snippet = addresses.script(known.domain, addresses.collect_url(settings))
    if as_json:
        click.echo(json.dumps({"site": known.domain, "added": added, "key": known.key, "snippet": snippet}))
        return
    click.echo(f"{known.domain} {'is added' if added else 'was there already'} in {settings.sites}")
    click.echo(f"\nPaste this into every page, before </head>:\n\n  {snippet}\n")
    if known.key:
        click.echo(f"Servers that send for their visitors use: Authorization: Bearer {known.key}")


@site.command("list", cls=SettingsCommand)
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the sites."""
    from ingest import sites

    try:
        known = sites.Sites(settings.sites).all()
    except sites.SitesError as error:
        raise Failed(str(error)) from error
    if not known and not as_json:
        click.echo(f"No site yet in {settings.sites}: footfall site add example.com", err=True)
    for entry in known:
        if as_json:
            click.echo(json.dumps({"site": entry.domain, "timezone": entry.timezone, "origins": entry.origins}))
        else:
            click.echo(f"{entry.domain}\t{entry.timezone}\t{', '.join(entry.origins) or 'any origin'}")


@site.command(cls=SettingsCommand)
@click.option("--page", "pages", multiple=True, help="Also the tags in the page at this address; repeatable.")
@with_json
@with_settings
def check(settings: Settings, pages: tuple[str, ...], as_json: bool) -> None:
    """Check the sites file and print every problem with it. Exit status 1 if there is one.

    Of a page it is checked whether browsers run the script that its tag names: after an update, one with `integrity`
    has to be pasted anew."""
    from ingest import sites

    problem = ""
    count = 0
    if not settings.sites.exists():
        problem = f"there is no {settings.sites}: footfall site add example.com"
    else:
        try:
            known = sites.read(settings.sites).values()
            count, problem = len(known), "\n".join(sites.wrong_zones(known, str(settings.sites)))
        except sites.SitesError as error:
            problem = str(error)
    well = [_page_is_well(page, settings, as_json) for page in pages if not problem]
    if as_json:
        click.echo(json.dumps({"sites": count, "problem": problem}))
    elif not problem:
        click.echo(f"{settings.sites}: {count} site{'s' * (count != 1)}, no problem")
    else:
        raise Failed(problem)
    if problem or not all(well):
        raise click.exceptions.Exit(1)


def _page_is_well(page: str, settings: Settings, as_json: bool) -> bool:
    """Say what is wrong with each tag of a page, and which one to paste instead; whether nothing is."""
    from infra import tags
    from ingest import sites

    known = sites.Sites(settings.sites)
    try:
        found = tags.check(page)
    except tags.Unread as error:
        found = [tags.Tag("", "", str(error), "")]
    well = True
    for tag in found:
        problem = tag.problem
        if not problem and known.spelt(tag.site) is None:
            problem = f"{tag.site} is not in {settings.sites}: footfall site add {tag.site}"
        well = well and not problem
        if as_json:
            told = {"page": page, "site": tag.site, "src": tag.src, "problem": problem, "tag": tag.renewed}
            click.echo(json.dumps(told))
            continue
        click.echo(f"{page}: {problem or f'browsers run {tag.src} for {tag.site}'}")
        if tag.renewed:
            click.echo(f"\nPaste this instead:\n\n  {tag.renewed}\n")
    return well
