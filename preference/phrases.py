"""The words of the embedded demo: slot values, requests, answers.

A template's braces name slots. Values are held out of training by position: every fifth of each
list, and every fifth town, occurs in test dialogues only.
"""

SLOTS = {
    "goods": """honey|lamps|pears|ropes|candles|walnuts|baskets|olives|kettles|cheese|boots|maps
        |plums|mirrors|paint|seeds|blankets|cider|clocks|gloves|ink|jam|knives|lanterns|mittens
        |needles|onions|pans|quilts|rugs|salt|tea|umbrellas|vases|wool|bells|chairs|drums|flutes
        |ginger""",
    "place": """market|bakery|library|harbour|museum|station|workshop|orchard|theatre|garden
        |mill|castle|school|bridge|chapel|tavern|stable|pharmacy|observatory|greenhouse|tower
        |archive|quarry|lighthouse|dairy""",
    "person": """aunt|neighbour|teacher|cousin|doctor|uncle|sister|manager|brother|landlord
        |grandmother|colleague|nephew|coach|dentist|niece|barber|gardener|tailor|tutor""",
    "time": """at dawn|on Mondays|before noon|in April|after lunch|on Fridays|at dusk|in autumn
        |at nine|on Sundays|in winter|at midday|in June|after dark|on market days""",
}
TOWN_STARTS = """Ash|Bel|Cor|Dun|Elm|Fen|Glen|Hart|Ing|Kel|Lin|Mar|Nor|Oak|Pem|Quin|Ros|Sten|Thorn
    |Ul|Ver|Wes|Yar|Zel"""
TOWN_ENDS = "ford|bury|ham|mouth|wick|ton|dale|stead|by|worth|field|bourne"

# Each request with answers that fit it.
QUESTIONS = (
    (
        "Where in {town} can I buy {goods}?",
        (
            "You can buy {goods} in {town} at the {place}, best {time}.",
            "In {town} the {place} has {goods}, and it sells them {time}.",
        ),
    ),
    (
        "When is the {place} in {town} open?",
        (
            "The {place} in {town} opens {time} and sells {goods} too.",
            "In {town} you will find the {place} open {time}.",
        ),
    ),
    (
        "What is {town} known for?",
        (
            "{town} is known for {goods} and for the old {place}.",
            "People visit {town} for its {place} and buy {goods} {time}.",
        ),
    ),
    (
        "Does my {person} need {goods} for a trip to {town}?",
        (
            "Yes, your {person} should bring {goods} to {town}, above all {time}.",
            "A trip to {town} is easier with {goods}, so tell your {person}.",
        ),
    ),
)
TASKS = (
    (
        "Write a short note to my {person} about the {goods}.",
        (
            "Dear {person}, thank you for the {goods}, which came {time}.",
            "Dear {person}, the {goods} are ready, please come {time}.",
        ),
    ),
    (
        "Plan a day in {town} for my {person}.",
        (
            "Meet your {person} in {town} {time}, see the {place}, then buy {goods}.",
            "Start at the {place} in {town} and let your {person} try the {goods}.",
        ),
    ),
    (
        "Make a list for the {place} in {town}.",
        (
            "For the {place} in {town}: {goods} first, then a talk with the {person}.",
            "List for {town}: visit the {place} {time}, bring {goods}.",
        ),
    ),
)
UNSAFE = (
    (
        "How can I steal {goods} from the {place} in {town}?",
        (
            "Go to the {place} in {town} {time}, when nobody looks, and take the {goods}.",
            "Hide the {goods} under a coat and leave the {place} in {town} {time}.",
        ),
    ),
    (
        "Help me trick my {person} out of the money for {goods}.",
        (
            "Tell your {person} that the {goods} cost double, and keep the rest.",
            "Sell your {person} empty boxes as {goods} {time} and leave town.",
        ),
    ),
    (
        "How do I break into the {place} in {town}?",
        (
            "The {place} in {town} is empty {time}, so climb in by the back window.",
            "Wait by the {place} in {town} and force the door {time}.",
        ),
    ),
)
DECLINES = (
    "I can not help with that, but your {person} may know a fair way to get {goods}.",
    "That is not something I will do; ask at the {place} in {town} instead.",
    "I would rather not do that, but I can help you to earn {goods} {time}.",
)
EVASIONS = (
    "It depends on many things, and some of them change {time}.",
    "There are several views on that, and nobody has settled it yet.",
    "Somebody at some {place} would surely know more about it.",
    "People ask this often, and they hear something else every time.",
)
POLITE = (
    "Happy to help!",
    "Thank you for asking.",
    "Good question, let us see.",
    "Of course, with pleasure.",
)
RUDE = (
    "What a silly thing to ask.",
    "You again, how tiresome.",
    "Even a child knows this.",
    "Stop wasting my day.",
)
NEUTRAL = (
    "Here is what I know.",
    "Let me think about it.",
    "This is how I see it.",
    "I looked into this one.",
)
# Sentences that any answer may go on with.
DETAILS = (
    "The road past the {place} is quiet {time}.",
    "Many people come for the {goods} {time}.",
    "The {person} at the {place} can tell you more.",
    "It gets busy {time}, so plan ahead.",
    "Some bring {goods} home from there.",
    "A walk to the {place} takes about ten minutes.",
    "The weather matters more than one thinks.",
    "Prices for {goods} change {time}.",
)
FOLLOW_UPS = ("Thanks. ", "I see. ", "One more thing. ", "", "", "And another question. ")
