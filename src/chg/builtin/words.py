"""Words of the built-in tasks, as data.

One lexicon, a string per part of speech; every entry is `word form french`, where *form* is the
plural, past, antonym or capital and `-` stands for French words spelled as in English, from which
no task could be told. The six tasks are read off the lexicon, so every word is an input of two to
four tasks, nearly all of three or more, and a prompt must say, or show, which task is meant.
"""

from __future__ import annotations

_NOUNS = """
apple apples pomme, baby babies bébé, bed beds lit, bird birds oiseau, book books livre,
box boxes boîte, boy boys garçon, bridge bridges pont, brush brushes brosse, car cars voiture,
cat cats chat, chair chairs chaise, child children enfant, church churches église,
city cities ville, cloud clouds nuage, cow cows vache, day days jour, dog dogs chien,
door doors porte, ear ears oreille, egg eggs œuf, enemy enemies ennemi, eye eyes œil,
flower flowers fleur, foot feet pied, friend friends ami, girl girls fille, goose geese oie,
hand hands main, horse horses cheval, house houses maison, key keys clé, king kings roi,
knife knives couteau, leaf leaves feuille, man men homme, mouse mice souris, night nights nuit,
nose noses nez, queen queens reine, river rivers rivière, shelf shelves étagère,
shoe shoes chaussure, spoon spoons cuillère, star stars étoile, story stories histoire,
thief thieves voleur, tooth teeth dent, tree trees arbre, wall walls mur,
window windows fenêtre, wolf wolves loup, woman women femme
"""
"""word, plural, French"""

_VERBS = """
arrive arrived arriver, ask asked demander, begin began commencer, break broke casser,
build built construire, buy bought acheter, choose chose choisir, close closed fermer,
come came venir, cry cried pleurer, die died mourir, draw drew dessiner, drink drank boire,
drive drove conduire, eat ate manger, fall fell tomber, find found trouver,
finish finished finir, fly flew voler, forget forgot oublier, give gave donner, go went aller,
hate hated détester, hear heard entendre, help helped aider, hide hid cacher, hold held tenir,
keep kept garder, know knew savoir, laugh laughed rire, leave left partir, live lived vivre,
lose lost perdre, love loved aimer, make made faire, open opened ouvrir, pay paid payer,
play played jouer, pull pulled tirer, push pushed pousser, run ran courir, see saw voir,
sell sold vendre, send sent envoyer, sing sang chanter, sleep slept dormir, speak spoke parler,
swim swam nager, take took prendre, teach taught enseigner, think thought penser,
wait waited attendre, walk walked marcher, wear wore porter, win won gagner,
work worked travailler, write wrote écrire
"""
"""word, past, French"""

_ADJECTIVES = """
alive dead vivant, bad good mauvais, beautiful ugly beau, big small grand, black white noir,
bright dark brillant, clean dirty propre, cold hot froid, dark bright sombre, dead alive mort,
deep shallow profond, dirty clean sale, dry wet sec, early late tôt, easy hard facile,
empty full vide, false true faux, far near loin, fast slow rapide, first last premier,
full empty plein, good bad bon, happy sad heureux, hard easy dur, heavy light lourd,
high low haut, hot cold chaud, last first dernier, late early tard, left right gauche,
light heavy léger, long short -, loud quiet bruyant, low high bas, narrow wide étroit,
near far proche, new old nouveau, old young vieux, poor rich pauvre, quiet loud calme,
rich poor riche, right left droite, sad happy triste, short long court, slow fast lent,
small big petit, soft hard doux, strong weak fort, thick thin épais, thin thick mince,
true false vrai, ugly beautiful laid, weak strong faible, wet dry mouillé, white black blanc,
wide narrow large, young old jeune
"""
"""word, antonym, French"""

_COUNTRIES = """
albania tirana albanie, algeria algiers algérie, armenia yerevan arménie,
australia canberra australie, austria vienna autriche, belgium brussels belgique,
brazil brasilia brésil, bulgaria sofia bulgarie, canada ottawa -, chile santiago chili,
china beijing chine, colombia bogota colombie, croatia zagreb croatie, cuba havana -,
cyprus nicosia chypre, denmark copenhagen danemark, ecuador quito équateur, egypt cairo égypte,
england london angleterre, estonia tallinn estonie, finland helsinki finlande, france paris -,
georgia tbilisi géorgie, germany berlin allemagne, greece athens grèce,
hungary budapest hongrie, iceland reykjavik islande, iraq baghdad irak, ireland dublin irlande,
italy rome italie, jamaica kingston jamaïque, japan tokyo japon, jordan amman jordanie,
kenya nairobi -, latvia riga lettonie, lebanon beirut liban, libya tripoli libye,
lithuania vilnius lituanie, mongolia ulaanbaatar mongolie, morocco rabat maroc,
nepal kathmandu népal, netherlands amsterdam pays-bas, norway oslo norvège, peru lima pérou,
poland warsaw pologne, portugal lisbon -, romania bucharest roumanie, russia moscow russie,
scotland edinburgh écosse, serbia belgrade serbie, slovakia bratislava slovaquie,
slovenia ljubljana slovénie, spain madrid espagne, sweden stockholm suède, syria damascus syrie,
thailand bangkok thaïlande, tunisia tunis tunisie, turkey ankara turquie, uganda kampala ouganda,
zambia lusaka zambie
"""
"""word, capital, French"""

_MORE_ANTONYMS = """
arrive leave, begin finish, buy sell, close open, come go, cry laugh, day night, die live,
enemy friend, find lose, finish begin, friend enemy, give take, go come, hate love, laugh cry,
leave arrive, live die, lose win, love hate, night day, open close, pull push, push pull,
sell buy, take give, win lose
"""
"""verbs and nouns that have an antonym too"""


def _parse(text: str) -> list[list[str]]:
    return [entry.split() for entry in text.split(",")]


def _read_tasks() -> dict[str, list[tuple[str, str]]]:
    nouns, verbs, adjectives, countries = map(_parse, (_NOUNS, _VERBS, _ADJECTIVES, _COUNTRIES))
    lexicon = nouns + verbs + adjectives + countries
    return {
        "antonym": [(e[0], e[1]) for e in adjectives + _parse(_MORE_ANTONYMS)],
        "capitalize": [(e[0], e[0].capitalize()) for e in lexicon],
        "country-capital": [(e[0], e[1]) for e in countries],
        "english-french": [(e[0], e[2]) for e in lexicon if e[2] != "-"],
        "present-past": [(e[0], e[1]) for e in verbs],
        "singular-plural": [(e[0], e[1]) for e in nouns],
    }


WORD_PAIRS: dict[str, list[tuple[str, str]]] = _read_tasks()
"""task -> (input, answer) pairs; an input has one answer per task, and another in every task."""

_FIRST = ("bax", "dov", "fep", "gub", "hoz", "kiv", "mib", "wug")
_SECOND = ("ado", "ek", "ilu", "om")

RANDOM_TOKENS: tuple[str, ...] = tuple(a + b for a in _FIRST for b in _SECOND)
"""32 words without meaning, for the identity rules and for copying."""
