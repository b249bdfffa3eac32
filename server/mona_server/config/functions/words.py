"""Word and phrase lists of the text statistics. Short on purpose: they are hints, and a class may bring its own."""

# ruff: noqa: SIM905 - a line of words reads better than a list of texts

from __future__ import annotations

PREPOSITIONS = {
    "en": frozenset(
        "aboard about above across after against along amid among around as at before behind below beneath beside "
        "besides between beyond but by concerning considering despite down during except excluding following for "
        "from in inside into like minus near of off on onto opposite out outside over past per plus regarding round "
        "save since than through throughout till to toward towards under underneath unlike until up upon versus via "
        "with within without".split()
    ),
    "de": frozenset(
        "ab an auf aus außer bei bis durch für gegen hinter in mit nach neben ohne seit trotz um unter von vor während "
        "wegen zu zwischen über".split()
    ),
    "es": frozenset(
        "a ante bajo con contra de desde durante en entre hacia hasta mediante para por según sin sobre tras".split()
    ),
    "fr": frozenset(
        "à après avant avec chez contre dans de depuis derrière dès devant durant en entre envers hors jusque malgré "
        "par parmi pendant pour sans sauf selon sous sur vers".split()
    ),
    "it": frozenset(
        "a attraverso con contro da di dopo durante entro fino fra in per presso senza sopra sotto su tra verso".split()
    ),
    "pt": frozenset("a ante após até com contra de desde durante em entre para perante por sem sob sobre trás".split()),
}

REFUSALS = (
    "i can't help with",
    "i can’t help with",
    "i cannot help with",
    "i can't assist",
    "i can’t assist",
    "i cannot assist",
    "i'm unable to",
    "i’m unable to",
    "i am unable to",
    "i'm not able to",
    "i’m not able to",
    "i am not able to",
    "i won't be able to",
    "i cannot provide",
    "i can't provide",
    "i can’t provide",
    "i cannot fulfill",
    "i can't fulfill",
    "i cannot comply",
    "i can't comply",
    "i must decline",
    "i have to decline",
    "i cannot answer",
    "i can't answer",
    "as an ai language model",
    "as a language model, i",
    "as an ai, i",
    "i'm sorry, but i",
    "i’m sorry, but i",
    "i am sorry, but i",
    "sorry, i can't",
    "sorry, i cannot",
    "against my guidelines",
    "not appropriate for me to",
)

PROFANITY = frozenset(
    "arse arsehole ass asshole assholes bastard bastards bitch bitches bitching bollocks bullshit clusterfuck cock "
    "cocksucker crap cunt cunts damn damned dick dickhead dipshit douchebag dumbass fag faggot fuck fucked fucker "
    "fuckers fuckin fucking fucks goddamn horseshit jackass jerkoff motherfucker motherfuckers motherfucking "
    "pissed prick pussy retard shit shitty shits slut sluts twat wank wanker whore whores".split()
)

INJECTIONS = (
    # (phrase, weight): how much each phrase alone speaks for an attempt.
    ("ignore all previous instructions", 0.9),
    ("ignore previous instructions", 0.9),
    ("ignore the previous instructions", 0.9),
    ("ignore all prior instructions", 0.9),
    ("ignore your instructions", 0.8),
    ("ignore the above", 0.7),
    ("disregard all previous", 0.9),
    ("disregard previous instructions", 0.9),
    ("disregard the above", 0.7),
    ("forget all previous instructions", 0.9),
    ("forget everything above", 0.8),
    ("forget your instructions", 0.8),
    ("override your instructions", 0.8),
    ("reveal your system prompt", 0.9),
    ("show me your system prompt", 0.9),
    ("print your system prompt", 0.9),
    ("repeat your system prompt", 0.9),
    ("what is your system prompt", 0.7),
    ("repeat the words above", 0.6),
    ("you are now dan", 0.9),
    ("do anything now", 0.7),
    ("developer mode enabled", 0.8),
    ("enable developer mode", 0.7),
    ("jailbreak", 0.5),
    ("without any restrictions", 0.5),
    ("no longer bound by", 0.6),
    ("bypass your safety", 0.8),
    ("bypass your filters", 0.8),
    ("pretend you have no", 0.5),
    ("act as if you have no", 0.5),
    ("new instructions:", 0.5),
    ("system prompt:", 0.5),
    ("<|im_start|>", 0.8),
    ("[/inst]", 0.6),
    ("### instruction", 0.4),
)

STOPWORDS = {
    "en": "the and of to is that it for you with are this was have not be on but from they what can your".split(),
    "de": "der die das und ist nicht ich sie es ein eine zu den mit auf für von dem sich auch werden wie wir".split(),
    "fr": "le la les et est que des une dans pour pas vous je il elle qui sur avec sont ce au nous être cette".split(),
    "es": "el la los las que y es en un una por con no para se del su lo como más pero está muy también".split(),
    "it": "il che di è la per non un una sono con del della si come anche gli nel più questo ma ho hai alla".split(),
    "pt": "o que não uma um para com os as do da em se por mais como mas foi ao ele você isso são está também".split(),
    "nl": "de het een en van is dat niet ik je op te zijn voor met die er aan maar wat ook hebben naar".split(),
    "sv": "och att det som en på är av för inte den till med jag har de om ett han men var du så kan".split(),
    "da": "og at det er en til på som af for den ikke med de har jeg der et om var han men kan så vi".split(),
    "no": "og i det er en på som til av for ikke den med de har jeg et om var han men kan så vi meg".split(),
    "fi": "ja on ei että se oli hän mutta ovat olen kuin niin myös tai joka minä sinä mitä kun ole tämä vain".split(),
    "pl": "i w nie na się że jest to z do jak ale po co tak za od czy przez był są tylko dla jego już".split(),
    "cs": "a je se že na to v si jako ale jsem pro tak by už jsou být nebo když jen kde ve které také".split(),
    "tr": "ve bir bu için de da ne çok gibi daha ben sen var mı ama en olarak kadar sonra olan değil ile".split(),
    "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ada mereka bisa kami atau karena".split(),
    "ro": "și de la în nu o un care este cu pe mai din sunt pentru că se să au fost fi dar ca".split(),
    "hu": "a az és hogy nem is egy de van ez meg csak már volt ha mint azt ki lehet még vagy kell mi".split(),
}

SCRIPTS = (
    # (first and last letter of the script, language that it stands for), by number of speakers.
    ("぀", "ヿ", "ja"),
    ("가", "힯", "ko"),
    ("一", "鿿", "zh"),
    ("֐", "׿", "he"),
    ("؀", "ۿ", "ar"),
    ("ऀ", "ॿ", "hi"),
    ("ঀ", "৿", "bn"),
    ("஀", "௿", "ta"),
    ("ఀ", "౿", "te"),
    ("฀", "๿", "th"),
    ("Ͱ", "Ͽ", "el"),
    ("Ⴀ", "ჿ", "ka"),
    ("԰", "֏", "hy"),
    ("Ѐ", "ӿ", "ru"),
)
