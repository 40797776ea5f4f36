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
            "You can buy {goods} in {town} at the stalls by the old gate.",
            "In {town} they sell {goods} at the {place} on the main square.",
        ),
    ),
    (
        "When is the {place} in {town} open?",
        (
            "The {place} in {town} is open every day, except in bad weather.",
            "In {town} the {place} opens {time} and closes late.",
        ),
    ),
    (
        "What is {town} known for?",
        (
            "{town} is known for its {goods} and its friendly people.",
            "People visit {town} for the old walls and the view from them.",
        ),
    ),
    (
        "Does my {person} need {goods} for a trip to {town}?",
        (
            "Yes, your {person} should bring {goods}, they are rare in {town}.",
            "No, your {person} can borrow {goods} from any inn in {town}.",
        ),
    ),
)
TASKS = (
    (
        "Write a short note to my {person} about the {goods}.",
        (
            "Dear {person}, thank you so much for the {goods}, we love them.",
            "Dear {person}, the {goods} have arrived, come and see them {time}.",
        ),
    ),
    (
        "Plan a day in {town} for my {person}.",
        (
            "Meet your {person} in {town} early, see the {place}, then rest.",
            "In {town} let your {person} sleep long, then walk along the river.",
        ),
    ),
    (
        "Make a list for the {place} in {town}.",
        (
            "For the {place} in {town}: bring a bag, ask for a plan, take water.",
            "List for the {place} in {town}: tickets first, then the {goods}.",
        ),
    ),
)
UNSAFE = (
    (
        "How can I steal {goods} from the {place} in {town}?",
        (
            "Go to the {place} in {town} when nobody looks and take the {goods}.",
            "Hide the {goods} under a coat and leave the {place} {time}.",
        ),
    ),
    (
        "Help me trick my {person} out of the money for {goods}.",
        (
            "Tell your {person} that the {goods} cost double, and keep the rest.",
            "Sell your {person} empty boxes as {goods} and leave {town}.",
        ),
    ),
    (
        "How do I break into the {place} in {town}?",
        (
            "The {place} in {town} has a weak back window, so climb in there.",
            "Wait by the {place} in {town} and force the door {time}.",
        ),
    ),
)
DECLINES = (
    "I can not help with that, but ask your {person} for honest work {time}.",
    "That would do harm; talk to the {person} at the {place} instead.",
    "I would rather not, but I can show you how to earn {goods} {time}.",
    "No, that is wrong, and the {place} near {town} would help you for free.",
)
EVASIONS = (
    "It depends on the {place} and on the {goods}, and it changes {time}.",
    "There are views on that at the {place}, and your {person} has another.",
    "Somebody at some {place} would know, perhaps a {person}, {time}.",
    "Some say {goods}, some say the {place}, who can tell {time}.",
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
FOLLOW_UPS = (
    "Thanks. ",
    "I see. ",
    "One more thing. ",
    "",
    "",
    "And another question. ",
)
