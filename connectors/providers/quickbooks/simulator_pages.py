"""What a person may look at in the simulated QuickBooks: one transaction or customer, and where the OAuth endpoints are."""

from __future__ import annotations

from html import escape
from typing import Any

from werkzeug import Request, Response

from connectors.providers.quickbooks.simulator_books import PEOPLE, TRANSACTIONS
from connectors.testing import Refused, Simulator, json_response, route

Json = dict[str, Any]

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
main { width: min(44rem, 100% - 2rem); margin: 2rem auto; }
.mark { padding: .1rem .6rem; border: 1px solid; border-radius: 1rem; font-size: .85rem; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem .35rem 0; border-bottom: 1px solid #8884;
  overflow-wrap: anywhere; }
"""


class Pages(Simulator):
    """Mixed into the simulator."""

    @route("GET", "/.well-known/openid_configuration")
    @route("GET", "/.well-known/openid_sandbox_configuration")
    def discovery(self, request: Request) -> Response:
        """Intuit's OAuth clients ask here where to go."""
        base, rules = request.host_url.rstrip("/"), self.oauth_rules
        return json_response(
            {
                "issuer": base,
                "authorization_endpoint": f"{base}{rules.authorize_path}",
                "token_endpoint": f"{base}{rules.token_path}",
                "revocation_endpoint": f"{base}{rules.revoke_path}",
                "userinfo_endpoint": f"{base}/v1/openid_connect/userinfo",
                "jwks_uri": f"{base}/op/v1/jwks",
                "response_types_supported": ["code"],
            }
        )

    @route("GET", "/app/<page>")
    def web_page(self, request: Request, page: str) -> Response:
        """The address a written document is opened by; ids are looked for in every company."""
        id = request.args.get("txnId") or request.args.get("nameId") or ""
        company, entity, row = self._anywhere(id, page)
        body = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(entity)} {escape(id)}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<style>{STYLE}</style><main><span class="mark">QuickBooks Online, simulated</span>'
            f"<h1>{escape(entity)} {escape(str(row.get('DocNumber') or row.get('DisplayName') or id))}</h1>"
            f"<p>{escape(company)}</p>{_table(row)}</main></html>"
        )
        policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        return Response(body, headers={"Content-Security-Policy": policy}, content_type="text/html; charset=utf-8")

    def _anywhere(self, id: str, page: str) -> tuple[str, str, Json]:
        wanted = {"recvpayment": "Payment", "expense": "Purchase", "customerdetail": "Customer"}.get(page, page)
        for organisation in self.organisations():
            for entity in (*TRANSACTIONS, *PEOPLE):
                row = self.store[f"{organisation['id']}/{entity}"].get(id)
                if row is not None and entity.lower() == wanted.lower():
                    return str(organisation["name"]), entity, row
        raise Refused(404, "There is no such transaction.")


def _table(value: Any) -> str:
    """Nested values as nested tables."""
    if isinstance(value, dict):
        rows = "".join(
            f"<tr><th scope=row>{escape(name)}</th><td>{_table(inner)}</td></tr>" for name, inner in value.items()
        )
        return f"<table>{rows}</table>"
    if isinstance(value, list):
        return "".join(_table(inner) for inner in value)
    return escape(str(value))
