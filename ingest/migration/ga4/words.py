"""What Google Analytics calls its columns and sums, in the languages that it may be set to."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Of each column: the names that it has in English (reports, the Data API, Universal Analytics), German, French,
# Spanish, Japanese, Italian, Portuguese and Dutch. Case, spaces and punctuation do not count, nor what is in
# brackets.
_NAMES: dict[str, str] = {
    "Date": "Date|Day Index|ga:date|Datum|Tagesindex|Index du jour|Fecha|Índice de días|日付|日別インデックス|Data",
    "Nth day": "Nth day|N-ter Tag|Nter Tag|Nième jour|Énième jour|N.º día|Día n.º|N 日目|N° giorno|Nº dia|Nde dag",
    # Numbers.
    "Total users": "Total users|Nutzer insgesamt|Gesamtzahl der Nutzer|Nombre total d'utilisateurs|Total des "
    "utilisateurs|"
    "Total utilisateurs|Total de usuarios|Usuarios totales|総ユーザー数|合計ユーザー数|ユーザーの合計数|Utenti totali|"
    "Total de usuários|Total de utilizadores|Totaal aantal gebruikers",
    "Active users": "Active users|Aktive Nutzer|Utilisateurs actifs|Usuarios activos|アクティブ ユーザー|"
    "アクティブ ユーザー数|Utenti attivi|Usuários ativos|Utilizadores ativos|Actieve gebruikers",
    "Users": "Users|Nutzer|Utilisateurs|Usuarios|ユーザー|ユーザー数|Utenti|Usuários|Utilizadores|Gebruikers",
    "Sessions": "Sessions|Sitzungen|Sesiones|セッション|セッション数|Sessioni|Sessões|Sessies",
    "Views": "Views|Screen page views|Pageviews|Page views|Aufrufe|Seitenaufrufe|Vues|Pages vues|Vistas|Visitas|"
    "Visualizaciones|Número de visitas a páginas|Número de páginas vistas|表示回数|ページビュー数|Visualizzazioni|"
    "Visualizzazioni di pagina|Visualizações|Visualizações de página|Visualizações de páginas|Weergaven|"
    "Paginaweergaven",
    "Event count": "Event count|Ereignisanzahl|Anzahl der Ereignisse|Nombre d'événements|Número de eventos|"
    "Recuento de eventos|イベント数|Conteggio eventi|Contagem de eventos|Aantal gebeurtenissen",
    "Engaged sessions": "Engaged sessions|Sitzungen mit Interaktionen|Sitzungen mit Interaktion|"
    "Sessions avec engagement|Sesiones con interacción|エンゲージのあったセッション数|エンゲージのあったセッション|"
    "Sessioni con coinvolgimento|Sessões engajadas|Sessões com interação|Betrokken sessies",
    "Average session duration": "Average session duration|Avg. Session Duration|Durchschnittliche Sitzungsdauer|"
    "Durchschnittl. Sitzungsdauer|Durée moyenne des sessions|Durée moyenne de la session|Durée moyenne d'une session|"
    "Durée moyenne de session|Duración media de la sesión|Duración media de las sesiones|"
    "Duración promedio de la sesión|平均セッション継続時間|平均セッション時間|Durata sessione media|"
    "Durata media della sessione|Durata media sessione|Duração média da sessão|Gemiddelde sessieduur|Gem. sessieduur",
    "Bounces": "Bounces|Absprünge|Rebonds|Rebotes|直帰数|Rimbalzi|Rejeições",
    "Bounce rate": "Bounce rate|Absprungrate|Taux de rebond|Porcentaje de rebote|Tasa de rebote|直帰率|"
    "Frequenza di rimbalzo|Taxa de rejeição|Bouncepercentage",
    "Engagement rate": "Engagement rate|Engagement-Rate|Interaktionsrate|Taux d'engagement|Porcentaje de interacciones|"
    "Tasa de interacción|Tasa de participación|エンゲージメント率|Tasso di coinvolgimento|Taxa de engajamento|"
    "Betrokkenheidspercentage",
    # What the numbers are of.
    "Page path": "Page path and screen class|Page path|Page path + query string|Page path plus query string|Page|"
    "Unified page path screen|Unified page screen|Seitenpfad und Bildschirmklasse|Seitenpfad|"
    "Seitenpfad + Abfragestring|Seite|Chemin de la page et classe de l'écran|Chemin de la page et classe d'écran|"
    "Chemin de la page|Chemin de page|Chemin de la page + chaîne de requête|Ruta de la página y clase de pantalla|"
    "Ruta de página y clase de pantalla|Ruta de la página|Ruta de página|Ruta de página + cadena de consulta|Página|"
    "ページパスとスクリーン クラス|ページパス|ページ階層|ページパス + クエリ文字列|ページ|"
    "Percorso pagina e classe schermata|Percorso pagina|Pagina|Caminho da página e classe da tela|Caminho da página|"
    "Paginapad en schermklasse|Paginapad",
    "Landing page": "Landing page|Landing page + query string|Landing page plus query string|Landingpage|Zielseite|"
    "Landingpage + Abfragestring|Page de destination|Page de destination + chaîne de requête|Página de destino|"
    "Página de destino + cadena de consulta|Página de destino y cadena de consulta|ランディング ページ|"
    "ランディング ページ + クエリ文字列|Pagina di destinazione|Pagina di destinazione + stringa di query|"
    "Página de destino + string de consulta|Landingspagina|Landingspagina + querytekenreeks",
    "Session source": "Session source|Source|Session manual source|Sitzung – Quelle|Quelle|Source de la session|"
    "Source de session|Fuente de la sesión|Fuente de sesión|Fuente|セッションの参照元|セッション参照元|参照元|"
    "Sorgente sessione|Sorgente della sessione|Sorgente|Origem da sessão|Origem|Sessiebron|Bron",
    "Session source / medium": "Session source / medium|Source / medium|Sitzung – Quelle/Medium|Quelle/Medium|"
    "Source/Support de la session|Source/Support|Source/Support de session|Fuente/medio de la sesión|"
    "Fuente/medio de sesión|Fuente/Medio|セッションの参照元 / メディア|セッション参照元 / メディア|"
    "セッション参照元またはメディア|参照元 / メディア|Sorgente/mezzo sessione|Sorgente/mezzo della sessione|"
    "Sorgente/Mezzo|Origem / mídia da sessão|Origem/mídia|Sessiebron/-medium|Bron/medium",
    "Session default channel group": "Session default channel group|Default channel group|Default Channel Grouping|"
    "Channel grouping|Session primary channel group|Primary channel group|Sitzung – Standardchannelgruppe|"
    "Sitzung – Standard-Channelgruppe|Sitzung – primäre Channelgruppe|Standardchannelgruppe|Standard-Channelgruppe|"
    "Standard-Channelgruppierung|Groupe de canaux par défaut de la session|Groupe de canaux principal de la session|"
    "Groupe de canaux par défaut|Groupe de canaux principal|Grupo de canales predeterminado de la sesión|"
    "Grupo de canales principal de la sesión|Grupo de canales predeterminado|Agrupación de canales predeterminada|"
    "セッションのデフォルト チャネル グループ|セッションのメインのチャネル グループ|デフォルト チャネル グループ|"
    "デフォルト チャネル グルーピング|Gruppo di canali predefinito sessione|Gruppo di canali principale della sessione|"
    "Gruppo di canali predefinito|Grupo de canais padrão da sessão|Grupo de canais principal da sessão|"
    "Grupo de canais padrão|Standaardkanaalgroep van sessie|Primaire kanaalgroep van sessie|Standaardkanaalgroep",
    "Session campaign": "Session campaign|Session campaign name|Campaign|Campaign name|Sitzung – Kampagne|Kampagne|"
    "Campagne de la session|Campagne de session|Campagne|Campaña de la sesión|Campaña de sesión|Campaña|"
    "セッションのキャンペーン|セッション キャンペーン|キャンペーン|Campagna sessione|Campagna|Campanha da sessão|"
    "Campanha|Sessiecampagne",
    "Country": "Country|Country ID|Country ISO code|Land|Pays|País|国|Paese",
    "Region": "Region|Bundesland|Région|Región|地域|リージョン|Regione|Região|Regio",
    "City": "City|Stadt|Ort|Ville|Ciudad|市区町村|都市|Città|Cidade|Plaats|Stad",
    "Device category": "Device category|Gerätekategorie|Catégorie d'appareil|Catégorie d'appareils|"
    "Categoría de dispositivo|デバイス カテゴリ|デバイスカテゴリ|Categoria dispositivo|Categoria del dispositivo|"
    "Categoria do dispositivo|Categoria de dispositivo|Apparaatcategorie",
    "Browser": "Browser|Navigateur|Navegador|ブラウザ",
    "Operating system": "Operating system|Betriebssystem|Système d'exploitation|Sistema operativo|"
    "オペレーティング システム|OS|Sistema operacional|Besturingssysteem",
    "Event name": "Event name|Ereignisname|Nom de l'événement|Nombre del evento|Nombre de evento|イベント名|"
    "Nome evento|Nome dell'evento|Nome do evento|Gebeurtenisnaam|Naam van gebeurtenis",
    # Parts of a day.
    "Hour": "Hour|Nth hour|Stunde|Heure|Hora|時間|時刻|Ora|Uur|Nth minute|Minute|Minuto|分",
    "Date + hour": "Date + hour|Date hour|Date hour and minute|Date hour minute|Hour Index|Datum + Stunde|"
    "Datum und Stunde|Stundenindex|Date + heure|Date et heure|Fecha + hora|Fecha y hora|Índice de horas|日時|"
    "日付 + 時刻|日付、時、分|Data + ora|Data e ora|Data + hora|Data e hora|Datum + uur",
}  # fmt: skip
_GRAND_SUMS = (
    "grand total", "gesamtsumme", "gesamtergebnis", "total général", "total general", "suma total", "総計", "合計",
    "totale complessivo", "total geral", "eindtotaal",
)  # fmt: skip
_SUMS = ("", "total", "totals", "summe", "gesamt", "totale", "totaal", "totales", "totaux", "totais", *_GRAND_SUMS)


def canonical(name: str) -> str:
    """Return a column's name as `_NAMES` has it; the name itself where it is not known."""
    return _columns().get(_bare(name), name)


@cache
def _columns() -> dict[str, str]:
    return {_bare(each): name for name, others in reversed(_NAMES.items()) for each in others.split("|")}


def _bare(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold().removeprefix("ga:")
    return re.sub(r"[\W_]", "", re.sub(r"\([^)]*\)", "", text))


def is_grand_sum(text: str) -> bool:
    """Return whether a value, in whatever column, says that its row is the sum of a table."""
    return text.strip().casefold() in _GRAND_SUMS


def is_sum(text: str) -> bool:
    """Return whether a value in the column of days says so."""
    return text.strip().casefold() in _SUMS
