"""`/api/ai/`: models and deployments, jobs, the marketplace. Each router is in `rest/`."""

from ninja import Router

from apps.accounts.api import user_auth
from apps.ai_studio.rest import jobs, marketplace, models

router = Router(auth=user_auth)
for part in (models, jobs, marketplace):
    router.add_router("", part.router)
