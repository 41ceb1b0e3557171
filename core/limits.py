"""Every bound of the app, one constant a line, with its unit."""

TEXT_CHARACTERS = 5_000  # a text box
TEXT_TOKENS = 512  # a text a model reads at once; a model's own context may be shorter
ATTENTION_TOKENS = 256  # a text whose attention is drawn: layers x heads x tokens x tokens are kept a visitor
QUESTION_TOKENS = 40  # a question about a picture
BLANKS = 8  # [MASK]s in a text
CHOICES = 10  # bars in a chart
STORY_TOKENS = 300  # tokens of one story after its prompt
RIVALS_KEPT = 1_024  # tokens of the vocabulary whose log-probability is kept for every step of a story
BRANCHES = 12  # stories of one visitor kept beside one another
ANSWER_TOKENS = 8  # words of an answer a generative model gives about a picture
SENTENCES = 200  # lines of a list to be judged
SENTENCE_TOKENS = 128  # a line of that list
TABLE_BYTES = 1_000_000  # an uploaded CSV file
PICTURE_BYTES = 10_000_000  # an uploaded file
PICTURE_PIXELS = 40_000_000  # width x height, read from the header before anything is decoded
PICTURE_STRIP = 4  # times as long as wide: of a longer strip ViLT's processor would leave nothing
PICTURE_SIDE = 768  # pixels: larger pictures are made smaller before the model and the page see them
GRADIENT_STEPS = 8  # points of the path of integrated gradients
COVERED_WORDS = 64  # words covered one at a time to explain a token of a story
TURN_SECONDS = 60  # waiting for the device
KEPT_BYTES = 4_000_000_000  # weights kept in memory
HALF_PRECISION_PARAMETERS = 50_000_000  # smaller networks stay in float32: below it bfloat16 gains nothing one can feel
CALLS_AT_ONCE = 16  # visitors' events in progress; they take turns at the device
QUEUE = 200  # visitors' events waiting
VISIT_SECONDS = 3_600  # what a page keeps for its visitor is dropped after this long
