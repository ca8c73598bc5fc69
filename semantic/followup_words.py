"""Words that say nothing by themselves, by language, and turns that say nothing where no spaces part the words.

A turn of nothing but such words of one language belongs to the turn before it (`followup.py`).
"""

# ruff: noqa: RUF001  # other scripts have letters and signs that look like Latin ones
OTHERS = {
    "german": """
        aber also andere anders auch auf beispiel beispiele bitte da danke das dein dem den der die dies du ein
        eine einem einen er erklär erkläre es etwas genau genauer gib habe hast ich ist ja kannst kurz kürzer
        länger mach machen mehr mein mich mir nein nicht noch nochmal nun nur oder ok schritt sie sind so sollte
        stimmt und uns verstehe von warum was weiter welche wer weshalb wie wieder wieso wirklich wo zeig zu
    """,
    "french": """
        alors aussi autre autres avec bien ce ceci cela comment comprends continue court d'accord d'autres dans
        davantage de des donne du détaille détails elle en encore est et exemple exemples explique faire il je
        l'autre la le les longtemps mais merci moi mon même ne non nous ok ou oui où pas peu peux plus pour
        pourquoi précise puis quand que quel quelle qui quoi refais s'il sont te toi ton tu un une vous vraiment
        ça étape
    """,
    "spanish": """
        además ahora al así bien breve claro como con continúa corto cuál cuáles cuándo cómo da dame de del
        detalle detalles dónde ejemplo ejemplos el ella en entiendo entonces es eso esta este esto explica
        explícalo explícame favor gracias la las lo los me mejor mi muy más mí no nos o ok otra otras otro otros
        para paso pero por porque puedes que quién qué se ser si sigue son su sí también te tu tú un una y ya yo
    """,
    "italian": """
        adesso allora altri altro anche ancora bene breve che chi ci come con continua cosa così da dammi
        davvero dei del della di dove e ed esempi esempio fa grazie ho i il in invece io la le lo ma me meglio
        mi mio no non o ok passo per perché però più poi puoi quale quali quando quello questo se sei si sono
        spiega spiegami su sì ti tu un un'altra un'altro una va è
    """,
    "portuguese": """
        agora ainda além assim bem certo com como continue da de detalhe detalhes do e ela ele em entendo então
        esse este está eu exemplo exemplos explica explique favor faz isso isto mais mas me melhor meu muito na
        no nos não o obrigada obrigado ok onde os ou outra outro para passo pode por porque porquê qual quando
        quanto que quem quê se sim só também te um uma você é
    """,
    "dutch": """
        als andere anders bedankt ben dan dat de deze die dit doe dus een en er ga geef graag heb het hij hoe ik
        is ja je kan korter kun langer maar mag me meer met mij nee niet nog nou nu of ok ook over precies stap
        te toch uit uitleg van voor voorbeeld voorbeelden waar waarom wanneer wat we wel welke wie zo
    """,
    "polish": """
        a ale bardziej co czy czym dalej dlaczego dobrze dzięki dziękuję gdzie i ich ile inaczej inne inny ja
        jak jaki jakie jest jeszcze już kiedy krok kto które mi mnie można na nie no o ok po podaj proszę
        przykład przykłady raz się skąd szczegóły tak ten teraz też to tylko w więc więcej wyjaśnij z za że
    """,
    "turkish": """
        ama açıkla ben bir biraz bu bunu da daha de detay detaylı devam et evet fazla hangi hayır için kim mi mu
        mü mı nasıl ne neden nerede niye niçin o ok olarak peki sen sonra tamam tekrar teşekkürler ve ver veya
        ya örnek şimdi
    """,
    "russian": """
        а без больше был в вот все всё где да давай далее дальше для до другие другой его ее еще ещё же за и из
        или как какие какой когда короче кто ли мне можно на не нет но ну о об объясни ок он она они подробнее
        пожалуйста покажи понял понятно почему приведи пример примеры продолжай раз с скажи спасибо так там то
        тоже только тут ты у уже хорошо чего чем что это этого этот я ясно
    """,
}
PHRASES = frozenset(
    (
        *("a proč", "de ce", "děkuji", "folytasd", "fortsätt", "köszönöm", "miért", "och varför"),
        *("pokračuj", "proč", "pse", "tack", "tiếp tục", "tại sao", "varför", "zašto", "és miért"),
        *("și de ce", "а чому", "защо", "зошто", "чому", "أكمل", "المزيد", "شكرا", "لماذا", "और बताओ"),
        *("क्यों", "धन्यवाद", "ありがとう", "どうして", "なぜ", "なぜですか", "もっと", "もっと詳しく", "为什么"),
        *("为什么呢", "举个例子", "什么意思", "他には", "例えば", "再举一个例子", "再详细一点", "怎么说"),
        *("接着说", "然后呢", "続けて", "继续", "詳しく", "详细一点", "说详细点", "谢谢", "还有吗", "还有呢"),
        *("감사합니다", "계속", "계속해줘", "더 자세히", "예를 들면", "왜", "왜요"),
    )
)
