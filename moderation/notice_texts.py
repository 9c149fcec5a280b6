"""The notices in each language: data only. The keys are `notice.NoticeKind`'s values."""

_KINDS = ("prompt_refused", "answer_withheld", "not_checked", "turn_removed")

_LINES = {
    "en": (
        "This message was not passed on, because it goes against the safety rules of this service.",
        "This answer is withheld, because it goes against the safety rules of this service.",
        "This could not be checked for safety just now, so it is withheld. Please try again in a moment.",
        "[This message was removed by moderation.]",
    ),
    "zh": (
        "这条消息违反了本服务的安全规则，因此没有发送。",
        "这条回答违反了本服务的安全规则，因此不予显示。",
        "目前无法完成安全检查，因此内容不予显示。请稍后再试。",
        "【此消息已被安全审核移除。】",
    ),
    "es": (
        "Este mensaje no se ha enviado porque infringe las normas de seguridad de este servicio.",
        "Esta respuesta no se muestra porque infringe las normas de seguridad de este servicio.",
        "Ahora mismo no se ha podido comprobar la seguridad, así que el contenido no se muestra. "
        "Inténtelo de nuevo en un momento.",
        "[Este mensaje ha sido retirado por la moderación.]",
    ),
    "fr": (
        "Ce message n'a pas été transmis, car il enfreint les règles de sécurité de ce service.",
        "Cette réponse n'est pas affichée, car elle enfreint les règles de sécurité de ce service.",
        "La vérification de sécurité n'a pas pu être effectuée, le contenu n'est donc pas affiché. "
        "Veuillez réessayer dans un instant.",
        "[Ce message a été retiré par la modération.]",
    ),
    "de": (
        "Diese Nachricht wurde nicht weitergegeben, weil sie gegen die Sicherheitsregeln dieses Dienstes verstößt.",
        "Diese Antwort wird nicht gezeigt, weil sie gegen die Sicherheitsregeln dieses Dienstes verstößt.",
        "Die Sicherheitsprüfung war gerade nicht möglich, darum wird der Inhalt nicht gezeigt. "
        "Bitte versuchen Sie es gleich noch einmal.",
        "[Diese Nachricht wurde von der Moderation entfernt.]",
    ),
    "pt": (
        "Esta mensagem não foi enviada porque viola as regras de segurança deste serviço.",
        "Esta resposta não é exibida porque viola as regras de segurança deste serviço.",
        "Não foi possível verificar a segurança neste momento, por isso o conteúdo não é exibido. "
        "Tente novamente daqui a pouco.",
        "[Esta mensagem foi removida pela moderação.]",
    ),
    "it": (
        "Questo messaggio non è stato inoltrato perché viola le regole di sicurezza di questo servizio.",
        "Questa risposta non viene mostrata perché viola le regole di sicurezza di questo servizio.",
        "Al momento non è stato possibile verificare la sicurezza, quindi il contenuto non viene mostrato. "
        "Riprova tra poco.",
        "[Questo messaggio è stato rimosso dalla moderazione.]",
    ),
    "ru": (
        "Это сообщение не отправлено, так как оно нарушает правила безопасности этого сервиса.",
        "Этот ответ не показан, так как он нарушает правила безопасности этого сервиса.",
        "Сейчас не удалось проверить безопасность, поэтому содержимое не показано. Повторите попытку чуть позже.",
        "[Это сообщение удалено модерацией.]",
    ),
    "ja": (
        "このメッセージは本サービスの安全規則に反するため、送信されませんでした。",
        "この回答は本サービスの安全規則に反するため、表示されません。",
        "現在、安全性を確認できないため、内容を表示していません。しばらくしてからもう一度お試しください。",
        "【このメッセージはモデレーションにより削除されました。】",
    ),
    "ko": (
        "이 메시지는 서비스의 안전 규칙에 어긋나 전달되지 않았습니다.",
        "이 답변은 서비스의 안전 규칙에 어긋나 표시되지 않습니다.",
        "지금은 안전 검사를 할 수 없어 내용을 표시하지 않습니다. 잠시 후 다시 시도해 주세요.",
        "[이 메시지는 검토를 거쳐 삭제되었습니다.]",
    ),
    "ar": (
        "لم تُرسل هذه الرسالة لأنها تخالف قواعد السلامة في هذه الخدمة.",
        "لا تُعرض هذه الإجابة لأنها تخالف قواعد السلامة في هذه الخدمة.",
        "تعذّر التحقق من السلامة الآن، لذلك لا يُعرض المحتوى. يُرجى المحاولة مرة أخرى بعد قليل.",
        "[أُزيلت هذه الرسالة من قِبل الإشراف.]",
    ),
    "hi": (
        "यह संदेश आगे नहीं भेजा गया, क्योंकि यह इस सेवा के सुरक्षा नियमों के विरुद्ध है।",
        "यह उत्तर नहीं दिखाया गया, क्योंकि यह इस सेवा के सुरक्षा नियमों के विरुद्ध है।",
        "अभी सुरक्षा की जाँच नहीं हो सकी, इसलिए सामग्री नहीं दिखाई गई। कृपया थोड़ी देर में फिर कोशिश करें।",
        "[यह संदेश मॉडरेशन द्वारा हटा दिया गया।]",
    ),
    "vi": (
        "Tin nhắn này không được gửi đi vì vi phạm quy tắc an toàn của dịch vụ.",
        "Câu trả lời này không được hiển thị vì vi phạm quy tắc an toàn của dịch vụ.",
        "Hiện chưa thể kiểm tra độ an toàn nên nội dung không được hiển thị. Vui lòng thử lại sau giây lát.",
        "[Tin nhắn này đã bị bộ phận kiểm duyệt gỡ bỏ.]",
    ),
    "id": (
        "Pesan ini tidak diteruskan karena melanggar aturan keamanan layanan ini.",
        "Jawaban ini tidak ditampilkan karena melanggar aturan keamanan layanan ini.",
        "Pemeriksaan keamanan belum dapat dilakukan, jadi isinya tidak ditampilkan. Silakan coba lagi sebentar lagi.",
        "[Pesan ini telah dihapus oleh moderasi.]",
    ),
    "tr": (
        "Bu mesaj, hizmetin güvenlik kurallarına aykırı olduğu için iletilmedi.",
        "Bu yanıt, hizmetin güvenlik kurallarına aykırı olduğu için gösterilmiyor.",
        "Şu anda güvenlik denetimi yapılamadığı için içerik gösterilmiyor. Lütfen birazdan yeniden deneyin.",
        "[Bu mesaj moderasyon tarafından kaldırıldı.]",
    ),
}

TEXTS: dict[str, dict[str, str]] = {
    language: dict(zip(_KINDS, lines, strict=True)) for language, lines in _LINES.items()
}
