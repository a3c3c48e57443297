"""How often the encoding of a text is found: languages times encodings times lengths.

    python benchmarks/encodings.py

A text counts as right where every letter is; two encodings that give the same letters are the same.
"""

from __future__ import annotations

import sys
from collections import defaultdict

from embedmill.sources.files.decoding import decode
from embedmill.sources.files.skips import LeftOut

LANGUAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "German": ("cp1252 iso8859_15", (
        "Die Bücher stehen im Regal über dem großen Tisch am Fenster.",
        "Später möchten wir die Schlüssel für das Häuschen zurückgeben.",
        "Natürlich müssen die Kühe jeden Morgen früh gemolken werden.",
        "Das Mädchen läuft fröhlich durch die Straßen der schönen Stadt.",
        "Für die Prüfung hätte er sich gründlicher vorbereiten müssen.",
        "Heute weht ein kräftiger Wind, und die Wäsche trocknet schnell.",
    )),
    "French": ("cp1252 iso8859_15", (
        "Le garçon a mangé une pomme derrière la maison de sa mère.",
        "L'été dernier, nous avons visité plusieurs châteaux près de la forêt.",
        "Où avez-vous trouvé cette étrange théière en céramique ?",
        "Les élèves préfèrent les leçons où l'on répète à voix haute.",
        "Il a été décidé que la réunion serait déplacée à février.",
        "Ça ne me gêne pas du tout de prêter mon vélo à Hélène.",
    )),
    "Spanish": ("cp1252 iso8859_15", (
        "El niño pequeño soñó con una montaña cubierta de nieve.",
        "Mañana por la mañana iré al médico con mi compañero de piso.",
        "¿Cuántos años tenía tu abuelo cuando emigró a Canadá?",
        "La canción más bonita del álbum está escrita en catalán.",
        "El avión llegó después de las diez y salió vacío hacia Perú.",
        "Según el periódico, habrá elecciones en el próximo otoño.",
    )),
    "Portuguese": ("cp1252 iso8859_15", (
        "A estação de comboios não fica longe do coração da cidade.",
        "Amanhã também vão chegar as informações sobre a eleição.",
        "O avô contou histórias às crianças até à meia-noite.",
        "É preciso ter atenção à direção antes de virar à esquerda.",
        "Os pães são feitos à mão numa pequena povoação do sertão.",
        "Não há dúvida de que a solução será difícil para nós.",
    )),
    "Swedish": ("cp1252 iso8859_15", (
        "Han gick över bron för att köpa bröd och smör på torget.",
        "Det är många år sedan vi såg älgar så nära våra hus.",
        "Barnen åker båt på sjön när vädret är varmt och skönt.",
        "Ingen förstår varför dörren alltid står öppen på kvällen.",
        "Fåglarna sjöng högt i träden utanför mitt fönster.",
        "Nästa vår flyttar hela släkten till en liten ö i skärgården.",
    )),
    "Turkish": ("cp1254 iso8859_9", (
        "Çocuklar bahçede güneşin altında oynuyor ve şarkı söylüyorlar.",
        "Yarın sabah erkenden İstanbul'a gideceğiz, hava güzel olacakmış.",
        "Kütüphanedeki kitapların çoğu eski ve değerli eserlerdir.",
        "Öğretmen öğrencilere ödevlerini zamanında yapmalarını söyledi.",
        "Kışın dağlara kar yağdığında köyün yolları kapanıyor.",
        "Şoför, ağır yükü taşıyan kamyonu yavaşça durdurdu.",
    )),
    "Polish": ("cp1250 iso8859_2", (
        "Dzieci bawiły się w ogrodzie, gdy nagle zaczął padać deszcz.",
        "Książka leży na półce obok żółtej lampy w dużym pokoju.",
        "Jutro pójdziemy zwiedzać zamek, którego wieże widać z daleka.",
        "Wszyscy mieszkańcy wioski świętowali ukończenie żniw.",
        "Mój brat chciałby zostać inżynierem i budować mosty łączące brzegi.",
        "Nie wiem, dlaczego pociąg się spóźnił już trzeci dzień z rzędu.",
    )),
    "Czech": ("cp1250 iso8859_2", (
        "Příliš mnoho lidí čekalo před budovou na úředníka s klíčem.",
        "Děti si hrály na zahradě, když náhle začalo pršet.",
        "Můj dědeček žije v malé vesnici nedaleko řeky.",
        "Zítra půjdeme do divadla na českou hru o dvou přátelích.",
        "Učitelka řekla žákům, že zkouška bude těžší než loni.",
        "Ve městě už několik let stavějí nový most přes řeku.",
    )),
    "Hungarian": ("cp1250 iso8859_2", (
        "A gyerekek az udvaron játszottak, amikor eleredt az eső.",
        "Holnap reggel korán indulunk a hegyekbe, hogy időben odaérjünk.",
        "Nagyapám könyveit egy régi szekrényben őrizzük a fűtött szobában.",
        "A tűzoltók gyorsan eloltották az erdőben keletkezett tüzet.",
        "Szeretném tudni, hogy mennyibe kerül ez a gyönyörű csésze.",
        "Az idős nő minden délután sétált egyet a folyó mentén.",
    )),
    "Russian": ("cp1251 koi8_r iso8859_5 cp866 mac_cyrillic", (
        "Дети играли во дворе, когда внезапно начался дождь.",
        "Завтра утром мы поедем в деревню к бабушке и дедушке.",
        "Книга лежит на столе рядом с лампой и чашкой чая.",
        "Учитель сказал ученикам, что экзамен будет трудным.",
        "Старый мост через реку построили ещё в прошлом веке.",
        "Никто не знает, почему поезд опоздал уже в третий раз.",
    )),
    "Ukrainian": ("cp1251 koi8_u", (
        "Діти гралися на подвір'ї, коли раптом почався дощ.",
        "Завтра вранці ми поїдемо до села, де живе наша бабуся.",
        "Книжка лежить на столі поруч із лампою та чашкою чаю.",
        "Вчителька сказала учням, що іспит буде нелегким.",
        "Старий міст через річку збудували ще минулого століття.",
        "Її брат їздить на роботу потягом щодня о сьомій годині.",
    )),
    "Greek": ("cp1253 iso8859_7", (
        "Τα παιδιά έπαιζαν στην αυλή όταν ξαφνικά άρχισε η βροχή.",
        "Αύριο το πρωί θα πάμε στο χωριό της γιαγιάς με το τρένο.",
        "Το βιβλίο βρίσκεται πάνω στο τραπέζι δίπλα στη λάμπα.",
        "Ο δάσκαλος είπε στους μαθητές ότι η εξέταση θα είναι δύσκολη.",
        "Η παλιά γέφυρα χτίστηκε τον περασμένο αιώνα.",
        "Κανείς δεν ξέρει γιατί άργησε το λεωφορείο σήμερα.",
    )),
    "Hebrew": ("cp1255", (
        "הילדים שיחקו בחצר כשפתאום התחיל לרדת גשם חזק.",
        "מחר בבוקר ניסע לכפר לבקר את סבא וסבתא שלנו.",
        "הספר מונח על השולחן ליד המנורה וכוס התה.",
        "המורה אמרה לתלמידים שהבחינה תהיה קשה מאוד.",
        "הגשר הישן מעל הנהר נבנה במאה הקודמת.",
        "אף אחד לא יודע למה הרכבת מאחרת כבר יום שלישי.",
    )),
    "Arabic": ("cp1256", (
        "كان الأطفال يلعبون في الحديقة عندما بدأ المطر يهطل فجأة.",
        "غدا صباحا سنذهب إلى القرية لزيارة جدتي وجدي.",
        "الكتاب موجود على الطاولة بجانب المصباح وكوب الشاي.",
        "قال المعلم للطلاب إن الامتحان سيكون صعبا هذه السنة.",
        "بني الجسر القديم فوق النهر في القرن الماضي.",
        "لا أحد يعرف لماذا تأخر القطار لليوم الثالث على التوالي.",
    )),
    "Japanese": ("cp932 euc_jp iso2022_jp", (
        "子供たちが庭で遊んでいると、突然雨が降り始めました。",
        "明日の朝、私たちは電車で祖母の村へ行くつもりです。",
        "本は机の上のランプの隣に置いてあります。",
        "先生は生徒たちに試験は難しいと言いました。",
        "川にかかる古い橋は前の世紀に建てられたものです。",
        "なぜ三日も続けて電車が遅れたのか、誰も知りません。",
    )),
    "Chinese": ("gb18030 big5", (
        "孩子在花園玩耍的時候,天空忽然下起大雨來了。",
        "明天早上我們坐火車去鄉下看望祖父和祖母。",
        "那本書放在桌子上的燈旁邊,茶杯也在那里。",
        "老師告訴學生今年的考試比去年困難得多。",
        "河上的古老大橋是上一個世紀建造的。",
        "沒有人知道為什么火車已經連續三天遲到。",
    )),
    "Korean": ("euc_kr", (
        "아이들이 마당에서 놀고 있을 때 갑자기 비가 내리기 시작했다.",
        "내일 아침 우리는 기차를 타고 할머니 댁에 갈 것이다.",
        "책은 책상 위의 전등 옆에 놓여 있습니다.",
        "선생님은 학생들에게 시험이 어려울 것이라고 말했다.",
        "강 위의 오래된 다리는 지난 세기에 지어졌다.",
        "왜 기차가 사흘이나 늦었는지 아무도 모른다.",
    )),
    "Thai": ("tis_620", (
        "เด็กๆ กำลังเล่นอยู่ในสวนเมื่อฝนเริ่มตก",
        "พรุ่งนี้เช้าเราจะนั่งรถไฟไปบ้านคุณยาย",
        "หนังสือวางอยู่บนโต๊ะข้างโคมไฟ",
        "ครูบอกนักเรียนว่าข้อสอบจะยากมาก",
        "สะพานเก่าข้ามแม่น้ำสร้างขึ้นในศตวรรษที่แล้ว",
        "ไม่มีใครรู้ว่าทำไมรถไฟมาสายสามวันแล้ว",
    )),
}  # fmt: skip
"""Language -> the encodings that its texts come in, and six sentences."""

LENGTHS = {"a line": 1, "six lines": 6, "a page": 36}


def cases() -> list[tuple[str, str, str, str]]:
    """Language, encoding, length and text; of a line, each of the six."""
    found = []
    for language, (encodings, lines) in LANGUAGES.items():
        for encoding in encodings.split():
            found += [(language, encoding, "a line", line + "\n") for line in lines]
            found.append((language, encoding, "six lines", "\n".join(lines) + "\n"))
            page = [" ".join(lines[(n + k) % 6] for k in range(2)) for n in range(18)]
            found.append((language, encoding, "a page", "\n".join(page) + "\n"))
    return found


def decoded(data: bytes) -> str | None:
    """The text; None where it is taken for data."""
    try:
        return decode(data)
    except LeftOut:
        return None


def main() -> None:
    """Print the shares, and what is wrong."""
    right: dict[str, list[bool]] = defaultdict(list)
    wrong = []
    for language, encoding, length, text in cases():
        try:
            data = text.encode(encoding)
        except UnicodeEncodeError as error:
            sys.exit(f"{language} in {encoding}: {error}")
        hit = decoded(data) == text
        for key in (length, f"{language} {encoding}", "all"):
            right[key].append(hit)
        if not hit:
            wrong.append(f"{language} in {encoding}, {length}: {(decoded(data) or '(data)')[:60]!r}")
    for key, hits in right.items():
        print(f"{key:28} {sum(hits):4} of {len(hits):4}  {sum(hits) / len(hits):6.1%}")
    if "-v" in sys.argv:
        print(*wrong, sep="\n")


if __name__ == "__main__":
    main()
