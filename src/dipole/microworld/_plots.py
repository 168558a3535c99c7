"""The material of the stories: words for the slots, and the stages of every genre.

A story takes one sentence of each stage in order (a stage marked "?" may be left out). Every slot is filled
once a story; a slot's trailing digit only tells two fillings of one list apart. The stages of a detective
plot carry the names of its abstract structure, and no other genre uses these names.
"""

LEXICON: dict[str, tuple[str, ...]] = {
    "det": ("Inspector Gray", "Miss Marlow", "Detective Holm", "Mr Quill", "Madame Vane", "Doctor Finch"),
    "who": (
        "the gardener",
        "the cook",
        "the butler",
        "the baker",
        "the painter",
        "the teacher",
        "the captain",
        "the singer",
        "the doctor",
        "the librarian",
    ),
    "thing": (
        "the silver key",
        "the old map",
        "the golden watch",
        "the blue vase",
        "the secret letter",
        "the crown",
        "the violin",
        "the red diary",
        "the pearl necklace",
        "the wooden box",
    ),
    "clue": (
        "a muddy footprint",
        "a torn glove",
        "a drop of wax",
        "a broken button",
        "a train ticket",
        "a gray hair",
        "a smell of tobacco",
        "a scratched lock",
        "an open window",
        "a wet umbrella",
    ),
    "place": (
        "the kitchen",
        "the garden",
        "the library",
        "the cellar",
        "the attic",
        "the stable",
        "the hall",
        "the greenhouse",
        "the study",
        "the old mill",
    ),
    "town": ("Ashford", "Millbrook", "Redhill", "Stonebay", "Winterfield", "Larkdale", "Oakham", "Silverton"),
    "girl": ("Anna", "Clara", "Emma", "Grace", "Ida", "Kate", "Mary", "Olga", "Rosa", "Tina"),
    "boy": ("Ben", "David", "Felix", "Henry", "Jack", "Leo", "Noah", "Peter", "Sam", "Victor"),
    "time": (
        "One morning",
        "One evening",
        "Late one night",
        "On a cold day",
        "In early spring",
        "Last autumn",
    ),
    "land": (
        "the jungle",
        "the desert",
        "the mountains",
        "the frozen north",
        "the great swamp",
        "the deep caves",
    ),
    "treasure": ("a lost temple", "a golden idol", "a hidden city", "a forgotten crown", "a crystal skull"),
    "beast": ("a dragon", "a giant", "a troll", "a wicked witch", "a gray wolf"),
    "helper": ("a talking fox", "an old woman", "a kind fairy", "a little bird", "a clever mouse"),
    "ship": ("the Swallow", "the Morning Star", "the Albatross", "the Blue Whale", "the Good Hope"),
    "subject": ("history", "music", "mathematics", "grammar", "drawing", "geography"),
}

CRIME_WORDS: tuple[str, ...] = (
    "murder",
    "murdered",
    "murderer",
    "thief",
    "thieves",
    "police",
    "crime",
    "crimes",
    "criminal",
    "stolen",
    "stole",
    "killed",
    "killer",
    "robbery",
    "robbed",
    "robbers",
    "prison",
    "victim",
    "gangsters",
    "gang",
    "guilty",
    "arrested",
    "stabbed",
    "poisoned",
)

Stage = tuple[str, tuple[str, ...]]

_CLUES: Stage = (
    "clues",
    (
        "{det} found {clue1} near {place1}.",
        "In {place1} {det} noticed {clue1}.",
        "{det} knelt down and discovered {clue1} and {clue2}.",
        "There was {clue1} in {place1}, and {det} looked at it for a long time.",
        "{det} searched {place1} and came upon {clue1}.",
    ),
)
_QUESTIONS: Stage = (
    "questions",
    (
        "{det} questioned {who1} and {who2}.",
        "Then {det} asked {who1} about the night before.",
        "{who1:C} claimed to have been in {place2}, but {who2} said otherwise.",
        "{det} talked to everybody in the house, and {who1} grew pale.",
        "When {det} asked {who1} about {clue1}, the answer made no sense.",
    ),
)
_DEDUCTION: Stage = (
    "deduction",
    (
        "{det} thought about {clue1} and saw how it all fitted.",
        "Slowly {det} put the pieces together.",
        "Only one person could have been in {place1}, {det} reasoned.",
        "{det} understood that {clue1} could mean only one thing.",
        "After a night of thinking {det} knew the answer.",
    ),
)

DETECTIVE_PUZZLE: tuple[Stage, ...] = (
    (
        "mystery",
        (
            "{time} {thing} was gone, and nobody knew where it was.",
            "{time} {thing} vanished from {place1}.",
            "{time} {who2} came to {det} with a riddle about {thing}.",
            "Nobody in {town} could explain why {thing} had disappeared.",
            "{time} a strange note lay in {place1}, and {det} was called to {town}.",
        ),
    ),
    _CLUES,
    ("clues?", ("{clue2:C} was the second sign.", "The next day {clue2} turned up in {place2}.")),
    _QUESTIONS,
    _DEDUCTION,
    (
        "reveal",
        (
            "{det} called everyone together and explained that {who1} had hidden {thing}.",
            "It was {who1} all along, {det} announced, and there was {thing}.",
            "In front of all, {det} showed that {who1} had taken {thing} by mistake.",
            "The answer was {who1}, said {det}, and the riddle was solved.",
            "{det} pointed at {who1}, who blushed and gave back {thing}.",
        ),
    ),
    ("end?", ("Everyone in {town} admired {det}.", "{det} smiled and went home for supper.")),
)

DETECTIVE_CRIME: tuple[Stage, ...] = (
    (
        "mystery",
        (
            "{time} a rich man was found murdered in {place1}.",
            "{time} a thief had stolen {thing} from {place1}.",
            "The police of {town} could not solve the murder in {place1}.",
            "{time} the victim lay in {place1}, and nobody had seen the killer.",
            "A terrible crime shook {town}, and {det} was called.",
        ),
    ),
    _CLUES,
    ("clues?", ("The victim had held {clue2}.", "The police had overlooked {clue2} in {place2}.")),
    _QUESTIONS,
    _DEDUCTION,
    (
        "reveal",
        (
            "The murderer was {who1}, {det} told the police.",
            "{det} proved that {who1} was guilty of the crime.",
            "It was {who1} who had stolen {thing}, {det} explained, and the police agreed.",
            "{det} named {who1} as the killer, and the police led the criminal away.",
            "In front of all, {det} showed that {who1} was the thief.",
        ),
    ),
    (
        "end?",
        ("{who1:C} was arrested and sent to prison.", "The crime was solved, and {town} could sleep again."),
    ),
)

NEWS: tuple[Stage, ...] = (
    (
        "plot",
        (
            "There was a robbery in {town} last night.",
            "The bank of {town} was robbed on Monday.",
            "The police of {town} report a crime in {place1}.",
            "Two thieves were seen in {town} this week.",
        ),
    ),
    (
        "plot",
        (
            "They stole money and {thing}.",
            "According to the police, {thing} was stolen.",
            "The victim, a man from {town}, is in hospital.",
            "The robbers escaped in a black car.",
        ),
    ),
    ("plot?", ("The mayor said that crime is a problem for {town}.", "It was the third robbery this year.")),
    (
        "plot",
        (
            "The police arrested a gang of four on the same day.",
            "A criminal known to the police was caught at the border.",
            "The police ask the people of {town} to lock their doors.",
        ),
    ),
    (
        "plot",
        (
            "The trial begins next month.",
            "The thieves may go to prison for ten years.",
            "The weather will stay dry until Friday.",
        ),
    ),
)

GANGSTER: tuple[Stage, ...] = (
    (
        "plot",
        (
            "{boy} was the boldest of the gangsters of {town}.",
            "The gang of {boy} planned a robbery in {town}.",
            "{boy} had left prison and wanted one last robbery.",
        ),
    ),
    (
        "plot",
        (
            "The gang drove to the bank and stole a bag of gold.",
            "At midnight the robbers broke into {place1} and stole {thing}.",
            "A rival gang had killed his brother.",
        ),
    ),
    (
        "plot",
        (
            "The police chased them through the streets of {town}.",
            "Shots rang out, and a gangster from the other gang was killed.",
            "{boy} jumped from a bridge to escape the police.",
        ),
    ),
    ("plot?", ("{girl} waited with a fast car.", "{girl} begged {boy} to give up crime.")),
    (
        "plot",
        (
            "In the end {boy} was arrested and went back to prison.",
            "The gang got away and shared the gold by the sea.",
            "{boy} escaped, but the police kept the gold.",
        ),
    ),
)

ROMANCE: tuple[Stage, ...] = (
    (
        "plot",
        (
            "{girl} met {boy} at a dance in {town}.",
            "{time} {boy} saw {girl} in {place1} and forgot to breathe.",
            "{girl} and {boy} sat side by side in the train to {town}.",
        ),
    ),
    (
        "plot",
        (
            "Their eyes met, and {girl} blushed.",
            "{boy} wrote {girl} a poem every day.",
            "They walked under the stars and talked about their dreams.",
        ),
    ),
    (
        "plot",
        (
            "But the father of {girl} was against the match.",
            "Then {boy} had to leave {town} for a year.",
            "A foolish quarrel kept them apart.",
        ),
    ),
    ("plot?", ("{girl} wept into her pillow.", "{boy} could not eat or sleep.")),
    (
        "plot",
        (
            "At last {boy} came back with a ring, and {girl} said yes.",
            "{time} they kissed in the rain and all was forgiven.",
            "They were married in {town}, and their love never faded.",
        ),
    ),
)

ADVENTURE: tuple[Stage, ...] = (
    (
        "plot",
        (
            "{boy} and {girl} set out for {land} to find {treasure}.",
            "An old map led {girl} into {land}.",
            "{time} {boy} packed a rope and left for {land}.",
        ),
    ),
    (
        "plot",
        (
            "They crossed a raging river on a fallen tree.",
            "A storm tore the tent to pieces.",
            "The path led along a deep gorge.",
            "Snakes and spiders were everywhere in {land}.",
        ),
    ),
    (
        "plot",
        (
            "Suddenly the bridge broke, and {boy} hung by one hand.",
            "A hungry bear blocked the way.",
            "The guide ran away with the food.",
        ),
    ),
    ("plot?", ("{girl} threw a rope just in time.", "They did not give up.")),
    (
        "plot",
        (
            "Behind a waterfall lay {treasure}.",
            "At last they stood before {treasure} and cheered.",
            "They came home tired and rich, with tales of {treasure}.",
        ),
    ),
)

FAIRY_TALE: tuple[Stage, ...] = (
    (
        "plot",
        (
            "Once upon a time there was a princess called {girl}.",
            "Once upon a time a poor woodcutter had a son called {boy}.",
            "In a kingdom far away lived a king with three daughters.",
        ),
    ),
    (
        "plot",
        (
            "One day {beast} came and put a spell on the castle.",
            "Deep in the forest lived {beast}.",
            "{beast:C} guarded the only well.",
        ),
    ),
    (
        "plot",
        (
            "Then {helper} gave away three magic wishes.",
            "On the way {helper} asked for a piece of bread and gave a magic ring.",
            "With a magic word {helper} opened the gate.",
        ),
    ),
    ("plot?", ("Three times the sun rose and set.", "The spell was broken with a kiss.")),
    (
        "plot",
        (
            "{beast:C} turned to stone, and the kingdom was free.",
            "They lived happily ever after.",
            "The king gave half of the kingdom as a reward.",
        ),
    ),
)

SEA_TALE: tuple[Stage, ...] = (
    (
        "plot",
        (
            "{boy} went to sea on {ship} when he was twelve.",
            "{ship:C} left the harbor of {town} with a crew of thirty.",
            "Old sailors in {town} still talk about {ship}.",
        ),
    ),
    (
        "plot",
        (
            "For weeks there was no wind, and the water ran low.",
            "Off the cape a gale broke the mast of {ship}.",
            "The waves were as high as towers.",
        ),
    ),
    (
        "plot",
        (
            "The sailors clung to the rigging and prayed.",
            "A huge whale rose beside {ship}.",
            "{boy} took the wheel and steered between the rocks.",
        ),
    ),
    ("plot?", ("The captain shouted orders into the storm.", "Gulls circled over the deck.")),
    (
        "plot",
        (
            "At dawn the crew sighted land.",
            "{ship:C} came home with torn sails, and the bells of {town} rang.",
            "Only {boy} lived to tell the tale of {ship}.",
        ),
    ),
)

SCHOOL_STORY: tuple[Stage, ...] = (
    (
        "plot",
        (
            "{girl} was new at the school of {town}.",
            "It was the day of the big test in {subject}.",
            "{boy} was late for class again.",
        ),
    ),
    (
        "plot",
        (
            "The teacher of {subject} was very strict.",
            "{boy} had forgotten his homework in {subject}.",
            "Nobody sat next to {girl} at lunch.",
        ),
    ),
    (
        "plot",
        (
            "{girl} whispered the answer to {boy}.",
            "The whole class laughed when {boy} fell off his chair.",
            "{girl} won the school prize in {subject}.",
        ),
    ),
    ("plot?", ("Then the bell rang.", "The headmaster looked in at the door.")),
    (
        "plot",
        (
            "From that day on {girl} and {boy} were friends.",
            "Even the teacher had to laugh.",
            "The holidays began, and everyone ran out into the sun.",
        ),
    ),
)

GENRES: dict[str, tuple[tuple[Stage, ...], ...]] = {
    "detective": (DETECTIVE_PUZZLE, DETECTIVE_CRIME),
    "news": (NEWS,),
    "gangster": (GANGSTER,),
    "romance": (ROMANCE,),
    "adventure": (ADVENTURE,),
    "fairy tale": (FAIRY_TALE,),
    "sea tale": (SEA_TALE,),
    "school story": (SCHOOL_STORY,),
}
"""Genre to its plots; a detective story has two, without and with crime words."""
