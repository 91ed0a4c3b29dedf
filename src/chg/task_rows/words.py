"""Words of the tasks, as data; a word stands in one pair of its list, so that pairs can be parted.

Common words, most of them a single token in the large vocabularies, spelled as inside of a text.
"""

from __future__ import annotations

Pair = tuple[str, str]
"""A word and its answer."""

_ANTONYMS = """
above below, absent present, accept reject, active passive, alive dead, always never,
ancient modern, attack defend, awake asleep, bad good, beautiful ugly, before after, begin end,
best worst, better worse, big small, bitter sweet, black white, bottom top, buy sell,
cheap expensive, clean dirty, come go, common rare, complex simple, cry laugh, dark bright,
day night, decrease increase, deep shallow, different same, dry wet, early late, east west,
easy difficult, empty full, enemy friend, entrance exit, even odd, external internal,
failure success, false true, far near, fast slow, fat thin, female male, few many, first last,
forget remember, front back, give take, guilty innocent, happy sad, hate love, healthy sick,
heavy light, high low, horizontal vertical, hot cold, include exclude, inside outside,
junior senior, left right, legal illegal, long short, loose tight, lose win, loud quiet,
major minor, maximum minimum, more less, narrow wide, negative positive, new old, north south,
open closed, optimistic pessimistic, over under, patient impatient, peace war,
permanent temporary, poor rich, possible impossible, private public, pull push, question answer,
rough smooth, safe dangerous, start stop, strong weak, sunrise sunset, together apart, up down,
useful useless, victory defeat, visible invisible, wise foolish, yes no
"""

_CAPITALS = """
Afghanistan Kabul, Albania Tirana, Algeria Algiers, Angola Luanda, Argentina Buenos_Aires,
Armenia Yerevan, Australia Canberra, Austria Vienna, Azerbaijan Baku, Bahrain Manama,
Bangladesh Dhaka, Belarus Minsk, Belgium Brussels, Bhutan Thimphu, Bolivia Sucre,
Botswana Gaborone, Brazil Brasilia, Bulgaria Sofia, Cambodia Phnom_Penh, Canada Ottawa, Chad
N'Djamena, Chile Santiago, China Beijing, Colombia Bogota, Croatia Zagreb, Cuba Havana,
Cyprus Nicosia, Denmark Copenhagen, Ecuador Quito, Egypt Cairo, England London, Eritrea Asmara,
Estonia Tallinn, Ethiopia Addis_Ababa, Fiji Suva, Finland Helsinki, France Paris, Gabon Libreville,
Georgia Tbilisi, Germany Berlin, Ghana Accra, Greece Athens, Guinea Conakry, Guyana Georgetown,
Haiti Port-au-Prince, Honduras Tegucigalpa, Hungary Budapest, Iceland Reykjavik, India New_Delhi,
Indonesia Jakarta, Iran Tehran, Iraq Baghdad, Ireland Dublin, Israel Jerusalem, Italy Rome,
Jamaica Kingston, Japan Tokyo, Jordan Amman, Kazakhstan Astana, Kenya Nairobi, Laos Vientiane,
Latvia Riga, Lebanon Beirut, Liberia Monrovia, Libya Tripoli, Lithuania Vilnius, Madagascar
Antananarivo, Malawi Lilongwe, Malaysia Kuala_Lumpur, Mali Bamako, Malta Valletta,
Mongolia Ulaanbaatar, Morocco Rabat, Mozambique Maputo, Namibia Windhoek, Nepal Kathmandu,
Netherlands Amsterdam, New_Zealand Wellington, Nicaragua Managua, Niger Niamey, Nigeria Abuja,
North_Korea Pyongyang, Norway Oslo, Oman Muscat, Pakistan Islamabad, Paraguay Asuncion, Peru Lima,
Philippines Manila, Poland Warsaw, Portugal Lisbon, Qatar Doha, Romania Bucharest, Russia Moscow,
Rwanda Kigali, Saudi_Arabia Riyadh, Scotland Edinburgh, Senegal Dakar, Serbia Belgrade,
Slovakia Bratislava, Slovenia Ljubljana, Somalia Mogadishu, South_Korea Seoul, Spain Madrid,
Sudan Khartoum, Sweden Stockholm, Switzerland Bern, Syria Damascus, Taiwan Taipei, Tanzania Dodoma,
Thailand Bangkok, Tunisia Tunis, Turkey Ankara, Uganda Kampala, Ukraine Kyiv, Uruguay Montevideo,
Uzbekistan Tashkent, Venezuela Caracas, Vietnam Hanoi, Wales Cardiff, Yemen Sanaa, Zambia Lusaka,
Zimbabwe Harare
"""

_FRENCH = """
apple pomme, arm bras, autumn automne, bed lit, bird oiseau, black noir, blood sang, blue bleu,
book livre, bottle bouteille, box boîte, boy garçon, bread pain, bridge pont, brother frère,
butter beurre, cat chat, chair chaise, cheese fromage, chicken poulet, child enfant, church église,
city ville, cloud nuage, cold froid, cow vache, day jour, death mort, dog chien,
door porte, dream rêve, ear oreille, egg œuf, evening soir, eye œil, father père, finger doigt,
fire feu, fish poisson, flower fleur, foot pied, forest forêt, friend ami, girl fille, 
good bon, grass herbe, green vert, hair cheveux, hand main, happy heureux, hat chapeau, head tête,
heart cœur, horse cheval, hospital hôpital, hot chaud, house maison, hunger faim, island île,
key clé, king roi, kitchen cuisine, knife couteau, lake lac, language langue, leaf feuille,
letter lettre, life vie, light lumière, love amour, man homme, meat viande, milk lait,
mirror miroir, money argent, month mois, moon lune, morning matin, mother mère, mountain montagne,
mouth bouche, name nom, new nouveau, night nuit, nose nez, old vieux, pig cochon, queen reine,
rain pluie, red rouge, rich riche, river rivière, road route, room chambre, salt sel, sea mer,
shadow ombre, sheep mouton, ship bateau, shirt chemise, shoe chaussure, shop magasin, sister sœur,
skin peau, sky ciel, small petit, snow neige, song chanson, spoon cuillère, spring printemps,
star étoile, stone pierre, street rue, strong fort, sugar sucre, summer été, sun soleil,
sweet doux, teacher professeur, time temps, tooth dent, tree arbre,
truth vérité, uncle oncle, wall mur, war guerre, water eau, week semaine, white blanc, wind vent,
window fenêtre, wine vin, winter hiver, woman femme, wood bois, word mot, world monde,
yellow jaune, young jeune
"""

_PAST = """
arrive arrived, ask asked, become became, begin began, believe believed, bite bit, blow blew,
break broke, bring brought, build built, buy bought, call called, carry carried, catch caught,
change changed, choose chose, climb climbed, close closed, come came, cook cooked, count counted,
cry cried, dance danced, decide decided, die died, dig dug, draw drew, drink drank, drive drove,
drop dropped, eat ate, enter entered, explain explained, fall fell, feed fed, feel felt,
fight fought, fill filled, find found, finish finished, fly flew, follow followed, forget forgot,
forgive forgave, freeze froze, get got, give gave, go went, grow grew, hang hung, happen happened,
hear heard, help helped, hide hid, hold held, hope hoped, invite invited, join joined, jump jumped,
keep kept, kick kicked, kill killed, know knew, laugh laughed, lead led, learn learned,
leave left, lend lent, like liked, listen listened, live lived, look looked, lose lost, love loved,
make made, mean meant, meet met, move moved, need needed, offer offered, open opened, paint painted,
pay paid, plan planned, plant planted, play played, pray prayed, pull pulled, push pushed,
reach reached, receive received, remember remembered, return returned, ride rode, ring rang,
rise rose, run ran, save saved, say said, see saw, seek sought, sell sold, send sent, shake shook,
shine shone, shoot shot, show showed, sing sang, sink sank, sit sat, sleep slept, smile smiled,
speak spoke, spend spent, stand stood, start started, stay stayed, steal stole, stop stopped,
study studied, swim swam, take took, talk talked, teach taught, tell told, think thought,
throw threw, travel traveled, try tried, turn turned, understand understood, use used,
visit visited, wait waited, wake woke, walk walked, want wanted, wash washed, watch watched,
wear wore, win won, wish wished, wonder wondered, work worked, write wrote
"""

_PLURALS = """
animal animals, apple apples, artist artists, baby babies, bag bags, bank banks, bear bears,
bed beds, bird birds, boat boats, book books, bottle bottles, box boxes, boy boys, bridge bridges,
brother brothers, bus buses, car cars, cat cats, chair chairs, child children, church churches,
city cities, clock clocks, cloud clouds, company companies, cow cows, cup cups, desk desks,
doctor doctors, dog dogs, door doors, dress dresses, driver drivers, engine engines,
engineer engineers, factory factories, family families, farm farms, farmer farmers, flag flags,
flower flowers, foot feet, friend friends, garden gardens, girl girls, goose geese, guest guests,
hat hats, horse horses, house houses, island islands, key keys, king kings, kitchen kitchens,
knife knives, lake lakes, lamp lamps, leaf leaves, letter letters, library libraries, lion lions,
machine machines, man men, map maps, mirror mirrors, mother mothers, mountain mountains,
mouse mice, neighbor neighbors, newspaper newspapers, nurse nurses, office offices,
painting paintings, party parties, picture pictures, pilot pilots, plant plants, queen queens,
river rivers, road roads, rock rocks, room rooms, school schools, shelf shelves, ship ships,
shoe shoes, shop shops, sister sisters, soldier soldiers, star stars, statue statues,
stone stones, story stories, student students, table tables, teacher teachers, thief thieves,
tooth teeth, tower towers, town towns, train trains, tree trees, truck trucks, village villages,
wall walls, watch watches, wife wives, window windows, wolf wolves, woman women, worker workers,
writer writers
"""

_NAMES = """
Aaron Adam Alan Alex Alice Amanda Amy Andrea Andrew Anna Anne Anthony Arthur Barbara Ben Betty
Brian Carl Carol Caroline Catherine Charles Charlotte Chris Christine Christopher Claire Daniel
David Dennis Diana Donald Dorothy Douglas Edward Elizabeth Ellen Emily Emma Eric Eva Frank Fred
Gary George Greg Hannah Harry Helen Henry Howard Ian Jack Jacob James Jane Jason Jennifer Jerry
Jessica Jim Joan Joe John Jonathan Joseph Julia Julie Karen Kate Katie Keith Kelly Kevin Kim Larry
Laura Lauren Lee Leo Linda Lisa Louis Louise Lucy Luke Margaret Maria Marie Mark Martha Martin Mary
Matthew Max Michael Michelle Mike Nancy Nicholas Nick Oliver Oscar Patricia Patrick Paul Peter
Philip Rachel Ralph Rebecca Richard Robert Roger Ronald Rose Roy Ruth Ryan Sam Samuel Sandra Sara
Sarah Scott Sean Simon Sophie Stephen Steve Steven Susan Taylor Thomas Tim Tom Tony Tyler Victor
Victoria Virginia Walter William
"""


def _pairs(text: str) -> tuple[Pair, ...]:
    """Pairs of a list; `_` stands for a space inside of a name."""
    entries = (entry.split() for entry in text.split(","))
    return tuple((word.replace("_", " "), answer.replace("_", " ")) for word, answer in entries)


ANTONYMS = _pairs(_ANTONYMS)
CAPITALS = _pairs(_CAPITALS)
FRENCH = _pairs(_FRENCH)
PAST = _pairs(_PAST)
PLURALS = _pairs(_PLURALS)
NAMES: tuple[str, ...] = tuple(_NAMES.split())
"""First names, of one token each in the large vocabularies."""
